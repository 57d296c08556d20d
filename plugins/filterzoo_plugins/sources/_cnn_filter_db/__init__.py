"""Reads a file of CNN Filter DB, which holds many checkpoints, for the source `cnn_filter_db`."""

SIDE_FILES = ("filterinfo.csv", "datastorage.meta.csv", "meta.csv")
"""What onnxzoo2filterdb wrote beside a file of filters."""
