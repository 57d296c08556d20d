"""Passes over the stored filters, and the papers' coefficients of them."""
