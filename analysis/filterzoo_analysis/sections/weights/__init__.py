"""Figures of what no paper before had over many zoos: spectra, frequencies, master keys."""
