"""PyTorch Image Models."""
