"""Takedowns: removes models and excludes them from later releases."""
