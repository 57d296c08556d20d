"""Reads a published data set, and selects the models of an analysis."""
