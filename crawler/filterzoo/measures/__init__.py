"""What is measured of a layer's filters, and the statistics that merge."""
