"""What a release will hold: new checkpoints, owners of layers, rows of the tables."""
