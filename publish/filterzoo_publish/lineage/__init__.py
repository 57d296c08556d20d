"""Which networks are related: the config `lineage`, computed from `models` and `layers` alone."""
