"""Batched attacks on images in [0, 1]: projected gradient descent (PGD) and Square."""
