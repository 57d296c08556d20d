"""Figures and comparisons of the config `confidences`, as in arXiv:2210.05938."""
