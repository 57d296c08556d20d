"""One module for each file format; run in the jail."""
