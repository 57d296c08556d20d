"""What several file formats are written in. An encoding imports no format."""
