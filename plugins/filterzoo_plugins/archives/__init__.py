"""One module for each kind of archive; run in the jail."""
