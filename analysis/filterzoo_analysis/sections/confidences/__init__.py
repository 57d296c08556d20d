"""Confidence of evaluated networks, as in arXiv:2210.05938: figures and comparisons of `confidences`."""
