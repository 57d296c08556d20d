"""The manifest: its keys and error messages."""
