"""The public reader of model files: tensors of any format, read on access, nothing executed."""
