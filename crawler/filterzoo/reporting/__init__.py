"""What a run tells people and machines: tables, progress, counts, metrics."""
