"""Curated facts are tables without doubles, whose words are those of the vocabularies, each with its source."""

from __future__ import annotations

import csv
import dataclasses
import re
from pathlib import Path

import pytest
import yaml

from filterzoo.records import Checkpoint
from filterzoo.vocabularies import COLUMNS, PUBLISHED

MANIFESTS = Path(__file__).parents[2] / "manifests"
FACTS = sorted(path for path in (MANIFESTS / "facts").glob("*.csv") if not path.stem.endswith("_documents"))
"""Tables of columns by a key; the others list the documents that a zoo's listing is read from."""
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


@pytest.mark.parametrize("path", FACTS, ids=lambda path: path.name)
def test_facts_are_columns_of_models_by_a_key_of_their_zoo(path):
    """`dataset` stands for the one that a token of a tag, or a row about data sets, names."""
    key, *columns = rows_of(path)[0]
    if key in {"module", "document"}:
        return  # where a zoo's lists are, not what its networks are
    assert key in {"name", "token", "tag", "weights", "dataset"}
    known = {field.name for field in dataclasses.fields(Checkpoint)} | {"dataset", "source"}
    assert set(columns) <= known - {"id", "revision", "artifacts", "url"}


def test_data_sets_have_one_spelling_in_all_facts():
    columns = ("dataset", "training_dataset", "pretraining_dataset")
    named = {row[column] for path in FACTS for row in rows_of(path) for column in columns if row.get(column)}
    assert len(named) == len({re.sub(r"[^a-z0-9]", "", name.lower()) for name in named})


def test_every_key_is_of_something_there_is():
    """Those of medical.csv, torchvision_weights.csv and pairs.csv are tested with their sources."""
    import timm

    from filterzoo_plugins.sources.robustbench.source import _TRAINING

    keys = {path.stem: {next(iter(row.values())) for row in rows_of(path)} for path in FACTS}
    manifests = [yaml.safe_load(path.read_text()) for path in MANIFESTS.glob("*.yaml")]
    packages = {name for one in manifests for block in one["sources"] for name in block.get("packages", ())}
    # A package, or a folder or file in one.
    assert {key.partition("/")[0] for key in keys["pypi"]} == {name.partition("==")[0] for name in packages}
    if timm.__version__ == "1.0.31":
        tags = "".join(f"_{name.partition('.')[2]}_" for name in timm.list_pretrained())
        assert [token for token in keys["timm_tags"] if f"_{token}_" not in tags] == []
    columns = ("dataset", "training_dataset", "pretraining_dataset")
    rows = [row for path in FACTS if path.stem != "datasets" for row in rows_of(path)]
    assert keys["datasets"] <= {row.get(column) for row in rows for column in columns} | {*_TRAINING.values()}


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


@pytest.mark.parametrize("words", PUBLISHED.values(), ids=PUBLISHED)
def test_words_have_a_meaning_each(words):
    assert all(word.meaning and word.value == str(word) for word in words)
    assert len({word.meaning for word in words}) == len(words)
