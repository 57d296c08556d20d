"""Confidence of evaluated networks, as arXiv:2210.05938 looks at it: figures and comparisons of `confidences`."""
