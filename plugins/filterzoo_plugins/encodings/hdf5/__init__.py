"""HDF5: the tree of groups, and the byte ranges of data sets."""
