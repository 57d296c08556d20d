"""The measures on a device of torch, for GPUs."""
