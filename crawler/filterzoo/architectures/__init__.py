"""Metadata of convolutions, from a trusted definition of the architecture."""
