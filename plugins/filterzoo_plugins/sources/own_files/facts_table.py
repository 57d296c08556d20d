"""A user's own table of facts about files: CSV or YAML, keys are ids or globs, columns are those of `models`."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from filterzoo import Checkpoint, Licence, StartError
from filterzoo.files import text_of
from filterzoo.manifests.manifest_yaml import YamlError, parse_yaml
from filterzoo.vocabularies import COLUMNS

MAX_TABLE = 64_000_000
MAX_TEXT = 300
KEY = "name"
"""The column with ids or globs in a CSV file."""


_TEXTS = (
    "architecture",
    "training_dataset",
    "pretraining_dataset",
    "pair_id",
    "base_model",
    "anatomy",
    "tags",
    "activation",
    "pooling",
)
_SHARES = ("clean_accuracy", "robust_accuracy")
_TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

FACTS = (*COLUMNS, *_TEXTS, *_SHARES, "robust", "eps")
"""Columns that describe a network."""


@dataclass(frozen=True, slots=True)
class Row:
    """The facts about the ids that `key` matches; `line`: its line in the file."""

    key: str
    line: int
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FactsTable:
    """Rows in the order of the file."""

    rows: tuple[Row, ...] = ()

    def of(self, identity: str) -> dict[str, Any]:
        """The facts about one id: from its own row, then from matching globs, in file order."""
        exact = [row for row in self.rows if row.key == identity]
        globs = [row for row in self.rows if row.key != identity and fnmatchcase(identity, row.key)]
        found: dict[str, Any] = {}
        for row in (*exact, *globs):
            found = {**row.facts, **found}
        return found

    def with_facts(self, checkpoint: Checkpoint) -> Checkpoint:
        """The checkpoint with the table's facts; the user's facts replace the zoo's."""
        facts = self.of(checkpoint.id)
        licence = facts.pop("license", None)
        return replace(checkpoint, **facts, **({"licence": licence} if licence else {}))


def read_table(place: str | None, folder: Path, *, licences: bool = False) -> FactsTable:
    """The table at a path relative to the manifest. licences: whether it may have a column `license`.

    StartError with `file:line: column: what is wrong; allowed: ...` for each error.
    """
    if place is None:
        return FactsTable()
    path = folder / place
    columns = (*FACTS, "license") if licences else FACTS
    text = text_of(path, "a table", MAX_TABLE)
    listed = _from_yaml(path, text) if path.suffix.lower() in {".yaml", ".yml"} else from_csv(path, text, KEY)
    rows, faults = [], []
    for key, line, cells in listed:
        facts, wrong = checked_cells(cells, columns)
        rows.append(Row(key, line, facts))
        faults += [f"{path}:{line}: {fault}" for fault in wrong]
    seen: set[str] = set()
    for row in rows:
        if row.key in seen:
            faults.append(f"{path}:{row.line}: {KEY}: {ascii(row.key)[:80]} is given twice")
        seen.add(row.key)
    if faults:
        raise StartError("\n".join(faults[:20]))
    return FactsTable(tuple(rows))


def from_csv(path: Path, text: str, key: str) -> list[tuple[str, int, dict[str, Any]]]:
    """(key, line, cells) of each row; StartError if it is not CSV, or has no key column."""
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        if key not in (reader.fieldnames or ()):
            raise StartError(f"{path}:1: the first line names the columns, and none is called {key}")
        found = []
        for row in reader:
            cells = {column: value for column, value in row.items() if column != key and value}
            if row.get(key):
                found.append((str(row[key]), reader.line_num, cells))
            elif cells:
                raise StartError(f"{path}:{reader.line_num}: {key}: is missing")
    except csv.Error as error:
        raise StartError(f"{path}:{reader.line_num}: not CSV: {error}") from error
    return found


def _from_yaml(path: Path, text: str) -> list[tuple[str, int, dict[str, Any]]]:
    try:
        document = parse_yaml(text)
    except YamlError as error:
        raise StartError(f"{path}:{error.line}: {error.detail}") from error
    if not isinstance(document.data, dict):
        raise StartError(f"{path}:1: a table of facts is a map of ids or globs, each with its columns")
    found = []
    for key, cells in document.data.items():
        line = document.line((key,))
        if not isinstance(cells, dict):
            raise StartError(f"{path}:{line}: {ascii(key)[:80]}: must have columns, such as task: classification")
        found.append((str(key), line, {column: value for column, value in cells.items() if value is not None}))
    return found


def checked_cells(cells: Mapping[str, Any], columns: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """(values in the types of their columns, `column: what is wrong` for each invalid one)."""
    known = tuple(columns)
    facts: dict[str, Any] = {}
    faults: list[str] = []
    for column, cell in cells.items():
        if column not in known:
            near = difflib.get_close_matches(str(column), known, n=1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            faults.append(f"{ascii(column)[:60]}: unknown column{meant}; allowed: {', '.join(known)}")
            continue
        try:
            facts[column] = _value(column, cell)
        except ValueError as error:
            faults.append(f"{column}: {ascii(cell)[:60]} {error}")
    return facts, faults


def _value(column: str, cell: Any) -> Any:
    """A cell in its column's type; ValueError, worded as the end of a sentence, for an invalid one."""
    text = str(cell).strip()
    if column in COLUMNS:
        allowed = [word.value for word in COLUMNS[column]]
        if text not in allowed:
            raise ValueError(f"is no {column}; allowed: {', '.join(allowed)}")
        return text
    if column == "robust":
        if text.lower() not in _TRUTHS:
            raise ValueError("is neither true nor false")
        return _TRUTHS[text.lower()]
    if column in _SHARES:
        return _number(text, "is no share; allowed: 0 to 1, such as 0.953", most=1.0)
    if column == "eps":
        return _number(text, "is no size of an attack; allowed: more than 0", most=1e6)
    if column == "license":
        if Licence.parse(text).expression is None:
            raise ValueError("is not an SPDX licence; allowed: identifiers of https://spdx.org/licenses")
        return text
    if not text.isprintable() or len(text) > MAX_TEXT:
        raise ValueError(f"must be one line of at most {MAX_TEXT} characters")
    return text


def _number(text: str, otherwise: str, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(otherwise) from None
    if not 0 <= value <= most:
        raise ValueError(otherwise)
    return value
