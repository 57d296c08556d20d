"""Reads published data sets: `load`, `stats`, and access to their files."""
