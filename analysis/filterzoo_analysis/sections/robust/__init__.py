"""Figures of robust and normal networks."""
