"""Verification: checks a data set from its published files alone."""
