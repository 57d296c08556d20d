"""Zoos that list their networks in tables: YAML, JSON, CSV or Python code that is read as data."""
