"""Curated facts are tables without doubles, whose words are those of the vocabularies, each with its source."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from filterzoo.vocabularies import COLUMNS, PUBLISHED

FACTS = sorted((Path(__file__).parents[2] / "manifests" / "facts").glob("*.csv"))
WHERE = ("arXiv:", "doi:", "https://")


def test_there_are_facts():
    assert len(FACTS) >= 2


@pytest.mark.parametrize("path", FACTS, ids=lambda path: path.name)
def test_facts(path):
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        header, rows = reader.fieldnames, list(reader)
    assert header is not None
    assert header[-1] == "source"
    assert rows
    keys = [row[header[0]] for row in rows]
    assert len(set(keys)) == len(keys), "a key stands twice"
    for row in rows:
        assert None not in row, f"more cells than the header has: {row}"
        assert all(value is not None and value == value.strip() for value in row.values()), row
        assert row[header[0]], row
        assert row["source"].startswith(WHERE), row
        for column, words in COLUMNS.items():
            if row.get(column):
                assert row[column] in set(words), f"{row[column]} is not a word of {column}"


@pytest.mark.parametrize("words", PUBLISHED.values(), ids=PUBLISHED)
def test_words_have_a_meaning_each(words):
    assert all(word.meaning and word.value == str(word) for word in words)
    assert len({word.meaning for word in words}) == len(words)
