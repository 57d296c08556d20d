"""Counts with their nouns, for people."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 model`, `2,000 models`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
