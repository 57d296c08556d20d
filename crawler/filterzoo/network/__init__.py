"""Everything between a URL and bytes: all requests go through `door`."""
