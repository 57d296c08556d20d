"""Labelled images for evaluation: from folders, arrays, and the data sets of `datasets` and torchvision."""
