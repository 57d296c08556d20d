"""Drift between groups of filters, its expectation by chance, and its uncertainty."""
