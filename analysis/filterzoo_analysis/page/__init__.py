"""The report as a page, its figures and its files."""
