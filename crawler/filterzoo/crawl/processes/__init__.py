"""Worker processes on this machine: how many, how they start, and how they share its cores."""
