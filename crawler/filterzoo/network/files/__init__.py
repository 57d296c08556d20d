"""Remote files: read by byte ranges, or downloaded into the cache."""
