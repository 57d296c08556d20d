"""The public reader of model files: every tensor of any format, read when it is asked for, nothing executed."""
