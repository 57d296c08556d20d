"""Figures of robust networks beside normal ones."""
