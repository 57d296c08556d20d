"""CNN Filter DB: each of its files holds many checkpoints, which the source `cnn_filter_db` separates."""

SIDE_FILES = ("filterinfo.csv", "datastorage.meta.csv", "meta.csv")
"""The side files that onnxzoo2filterdb writes for a file of filters."""
