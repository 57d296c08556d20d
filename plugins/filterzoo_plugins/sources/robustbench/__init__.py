"""RobustBench's zoo (arXiv:2010.09670)."""
