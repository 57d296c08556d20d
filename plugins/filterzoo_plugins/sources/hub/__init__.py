"""Zoos on the Hugging Face Hub."""
