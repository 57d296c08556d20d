"""Executors for other machines; each is a plugin."""
