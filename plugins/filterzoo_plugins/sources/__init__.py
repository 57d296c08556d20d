"""The built-in zoos: a package for each kind of location, and for each zoo that needs more than a table."""
