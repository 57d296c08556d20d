"""The report as one page, its figures and its files."""
