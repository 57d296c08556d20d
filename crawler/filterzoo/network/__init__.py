"""Everything between a URL and bytes: the one door to the network."""
