"""Storage of fragments: local folders, and anything that fsspec opens by a URL."""
