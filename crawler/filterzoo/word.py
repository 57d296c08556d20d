"""An enum of a closed vocabulary, each value with its published meaning."""

from __future__ import annotations

from enum import StrEnum
from typing import Self


class Word(StrEnum):
    """Members are written `value, meaning`; the meaning is published with the data set."""

    meaning: str

    def __new__(cls, value: str, meaning: str = "") -> Self:
        """Create a member; calling the class with a value returns the member of that value."""
        word = str.__new__(cls, value)
        word._value_ = value
        word.meaning = meaning
        return word
