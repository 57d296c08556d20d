"""From the tensors of a file to layers in canonical form."""
