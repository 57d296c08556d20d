"""Storage of fragments: folders of this machine, and what fsspec reaches by a URL."""
