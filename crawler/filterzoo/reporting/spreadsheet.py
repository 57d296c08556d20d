"""Escapes cells of CSV files so that spreadsheets take them for text, never for a formula."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters of cells that spreadsheets execute; CSV quoting does not prevent it."""
ESCAPE = "'"
"""Put before such a cell, and before one that begins with it, so that removing one restores every text."""


def escaped(text: str) -> str:
    """The text with an apostrophe before it where a spreadsheet would take it for a formula."""
    return f"{ESCAPE}{text}" if text.startswith((*FORMULA, ESCAPE)) else text
