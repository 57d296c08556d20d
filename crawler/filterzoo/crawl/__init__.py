"""The stages of a crawl, from a manifest to fragments in the work folder."""
