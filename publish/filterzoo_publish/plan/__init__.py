"""The plan of a release: new checkpoints, owners of layers, rows of the tables."""
