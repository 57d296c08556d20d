"""Python packages: found in an index, read as archives, never installed; and the networks inside them."""
