"""Passes over the stored filters, and their coefficients as the papers define them."""
