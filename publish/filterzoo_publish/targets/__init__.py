"""Targets of a release: a folder, or the Hub."""
