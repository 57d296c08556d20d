"""CNN Filter DB: a file of it holds many checkpoints, which the source `cnn_filter_db` takes apart."""

SIDE_FILES = ("filterinfo.csv", "datastorage.meta.csv", "meta.csv")
"""What onnxzoo2filterdb wrote beside a file of filters."""
