"""Confidence of networks: runs trusted architectures with crawled weights, and measures confidence from logits."""
