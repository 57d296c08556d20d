"""One module a zoo."""
