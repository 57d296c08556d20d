"""Removing what an owner wants gone, and keeping it out."""
