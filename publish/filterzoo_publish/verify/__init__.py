"""Checks a release on its published files alone."""
