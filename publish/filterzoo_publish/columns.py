"""Writes docs/columns.md: run `python -m filterzoo_publish.columns` in the root of the repository."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from filterzoo.vocabularies import PUBLISHED
from filterzoo.word import Word
from filterzoo_publish.schema import COLUMNS
from filterzoo_publish.schema.column import Column

ROWS = {
    "models": "a checkpoint",
    "layers": "a convolution layer of a checkpoint",
    "filters": "a block of filters of one unique layer",
    "filters_sample": "one 3x3 filter, drawn at random, the same number from each checkpoint where it has them",
    "status": "what the newest release knows of a checkpoint; a table that each release replaces, as are those below",
    "skipped": "a checkpoint, or a plugin, that did not make it",
    "confidences": "a checkpoint on an image set under an attack, where somebody evaluated it (docs/confidence.md)",
    "lineage": "two checkpoints that belong together: a copy, shared layers, descent that is stated or inferred",
}


def columns_page() -> str:
    """The reference of all columns, as Markdown."""
    sections = [f"## {config}\n\nA row is {ROWS[config]}.\n\n{columns_table(config)}" for config in COLUMNS]
    words = "## Words\n\nColumns that are closed lists: a cell holds one of these words, or is empty.\n"
    lists = [f"### {column}\n\n{_words_table(vocabulary)}" for column, vocabulary in PUBLISHED.items()]
    return "\n".join(("# Columns\n\nWritten by `python -m filterzoo_publish.columns`.\n", *sections, words, *lists))


def columns_table(config: str) -> str:
    """The config's columns as a Markdown table."""
    lines = ["| column | type | meaning | unit or range | null |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(_line(column) for column in COLUMNS[config])]) + "\n"


def _words_table(vocabulary: Iterable[Word]) -> str:
    lines = ["| word | meaning |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{word.value}` | {word.meaning} |" for word in vocabulary)]) + "\n"


def _line(column: Column) -> str:
    kind = str(column.type).replace("element: ", "").replace("item: ", "").replace(" not null", "")
    return f"| `{column.name}` | `{kind}` | {column.meaning} | {column.unit} | {column.null} |"


if __name__ == "__main__":
    Path("docs/columns.md").write_text(columns_page())
