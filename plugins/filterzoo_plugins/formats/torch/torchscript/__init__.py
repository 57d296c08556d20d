"""TorchScript archives: convolutions found in the code, which is parsed and never executed."""
