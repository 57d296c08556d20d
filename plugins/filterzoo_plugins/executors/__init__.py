"""Executors beyond this machine, each a plugin."""
