"""The schema is the only place that names columns: features, docs and files follow it."""

from __future__ import annotations

from pathlib import Path

import pytest

from filterzoo.errors import Reason
from filterzoo.store.filters import PUBLISHED_SCHEMA
from filterzoo.store.fragments import LAYER_SCHEMA
from filterzoo.vocabularies import PUBLISHED
from filterzoo_publish.columns import columns_page
from filterzoo_publish.schema import COLUMNS, CONFIGS, arrow_schema, features

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("config", CONFIGS)
def test_features_are_what_datasets_makes_of_the_files(config):
    import datasets

    assert features(config) == datasets.Features.from_arrow_schema(arrow_schema(config))._to_yaml_list()


@pytest.mark.parametrize("config", CONFIGS)
def test_every_column_is_explained_once(config):
    names = [column.name for column in COLUMNS[config]]
    assert len(set(names)) == len(names)
    assert all(column.meaning and column.null for column in COLUMNS[config])


def test_fragments_arrive_whole():
    assert set(LAYER_SCHEMA) <= set(arrow_schema("layers"))
    assert arrow_schema("filters").equals(PUBLISHED_SCHEMA)


def test_no_weight_can_be_null():
    assert not arrow_schema("filters").field("weights").type.value_field.nullable


def test_the_page_of_columns_is_up_to_date():
    assert (ROOT / "docs/columns.md").read_text() == columns_page(), "run python -m filterzoo_publish.columns"


def test_the_page_says_what_every_word_of_a_closed_list_means():
    page = columns_page()
    for column, words in PUBLISHED.items():
        assert f"### {column}\n" in page
        assert all(f"| `{word.value}` | {word.meaning} |\n" in page for word in words)


def test_reasons_need_no_escape_on_a_page():
    assert all(reason.replace("_", "").isalpha() for reason in Reason)
