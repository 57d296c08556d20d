"""Attacks on images in [0, 1]: projected gradient descent and Square, batched."""
