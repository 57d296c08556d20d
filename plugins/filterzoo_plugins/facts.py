"""The curated facts of `manifests/facts`: metadata that zoos do not state, each with its source."""

from __future__ import annotations

import csv
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path


def table(name: str) -> dict[str, dict[str, str | None]]:
    """The rows of `manifests/facts/NAME.csv` by their first column; an empty cell is None (unknown)."""
    text = (_folder() / f"{name}.csv").read_text("utf-8")
    reader = csv.DictReader(text.splitlines(), strict=True)
    key = (reader.fieldnames or [""])[0]
    return {row[key]: {column: value or None for column, value in row.items()} for row in reader}


def rows(name: str) -> list[dict[str, str | None]]:
    """The rows of `manifests/facts/NAME.csv` in order, for tables whose first column is not unique."""
    text = (_folder() / f"{name}.csv").read_text("utf-8")
    return [
        {column: value or None for column, value in row.items()}
        for row in csv.DictReader(text.splitlines(), strict=True)
    ]


def _folder() -> Traversable:
    """The folder in the installed package, or in the working copy for an editable installation."""
    installed = files("filterzoo_plugins") / "manifests" / "facts"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "manifests" / "facts"
