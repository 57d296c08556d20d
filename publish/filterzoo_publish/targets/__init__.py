"""Where a release goes: a folder, or the Hub."""
