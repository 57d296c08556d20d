"""The built-in zoos: a room for each kind of place where zoos are kept, and for each zoo that has more than a table."""
