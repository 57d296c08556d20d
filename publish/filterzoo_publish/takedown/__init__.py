"""Takedowns: removes models, and keeps them out of later releases."""
