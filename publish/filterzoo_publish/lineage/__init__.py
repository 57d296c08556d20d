"""Which networks belong together: `lineage`, which follows from `models` and `layers` alone."""
