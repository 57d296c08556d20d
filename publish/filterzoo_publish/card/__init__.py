"""The README, NOTICE and Croissant file of a data set."""
