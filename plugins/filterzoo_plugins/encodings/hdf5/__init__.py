"""HDF5: its tree, and where the numbers of a data set lie."""
