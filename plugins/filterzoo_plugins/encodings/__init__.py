"""Encodings that several file formats use. An encoding imports no format."""
