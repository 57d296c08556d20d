"""The libraries that define networks, torchvision and timm: which weights they register, what they can build."""
