"""Zoos that list their networks in tables: YAML, JSON, CSV, or Python code read as data."""
