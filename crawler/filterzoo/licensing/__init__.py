"""Licences: parsing, comparing, and a manifest's policy."""
