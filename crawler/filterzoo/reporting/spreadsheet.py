"""Escapes cells of CSV files so that spreadsheets read them as text, never as formulas."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of cells that spreadsheets execute; CSV quoting does not prevent it."""
ESCAPE = "'"
"""Prepended to such a cell, and to one that starts with it, so that removing one restores the text."""


def escaped(text: str) -> str:
    """The text, with a leading apostrophe if a spreadsheet would read it as a formula."""
    return f"{ESCAPE}{text}" if text.startswith((*FORMULA, ESCAPE)) else text
