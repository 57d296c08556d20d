"""One module a file format; what the jail runs."""
