"""Exports a published data set in the layout of the CNN Filter DB release, for notebooks that read that layout."""
