"""Figures that compare robust with normal networks."""
