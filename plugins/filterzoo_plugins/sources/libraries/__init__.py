"""The libraries that define networks, torchvision and timm: their registered weights and their networks."""
