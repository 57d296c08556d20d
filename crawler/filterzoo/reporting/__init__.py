"""Output of a run for people and machines: tables, progress, counts, metrics."""
