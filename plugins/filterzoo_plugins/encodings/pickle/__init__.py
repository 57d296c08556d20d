"""Pickles read as data: opcodes, a stack, inert values; nothing is imported or called."""
