"""Figures beyond the papers: spectra, frequencies, master keys."""
