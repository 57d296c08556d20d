"""The work folder: fragments, journal, and their repair."""
