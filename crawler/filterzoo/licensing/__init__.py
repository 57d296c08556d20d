"""Licences: how they are spelled, compared, and what a manifest allows."""
