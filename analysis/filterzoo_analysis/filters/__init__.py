"""Passes over the stored filters, and the coefficients that the papers' variants take of them."""
