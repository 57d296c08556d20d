"""Cells of CSV files as spreadsheets must see them: text, never a formula."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How cells begin that spreadsheets execute; fields of CSV are no protection, quoting included."""
ESCAPE = "'"
"""Before such a cell, and before one that begins with it: taking one away gives every text back."""


def escaped(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"{ESCAPE}{text}" if text.startswith((*FORMULA, ESCAPE)) else text
