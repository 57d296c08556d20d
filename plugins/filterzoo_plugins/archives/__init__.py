"""One module a kind of archive; what the jail runs."""
