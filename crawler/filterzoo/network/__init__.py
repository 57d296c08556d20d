"""HTTP: all requests go through `door`."""
