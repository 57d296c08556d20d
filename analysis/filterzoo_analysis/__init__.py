"""The papers' analyses, over a published data set only."""
