"""A package, so that no `tests` of somebody else's distribution is found in its place."""
