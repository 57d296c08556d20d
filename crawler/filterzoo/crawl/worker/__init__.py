"""What a worker does with one checkpoint: open, check, read, normalise, measure and store it."""
