"""Drift between groups of filters, what numbers of filters give by chance, and how far to trust it."""
