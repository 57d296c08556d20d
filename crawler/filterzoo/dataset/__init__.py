"""A published data set, read: `load`, `stats`, and where its files lie."""
