"""A FIFO or a device in the place of a table, a document or a manifest is one line, and does not hang."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from filterzoo.errors import FilterZooError
from filterzoo.manifests.manifest import load_manifest
from filterzoo.network.door import Door
from filterzoo_plugins.sources.files.documents import text_at
from filterzoo_plugins.sources.own_files.facts_table import read_table


@pytest.fixture(params=["fifo", "device"])
def place(request, tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    if request.param == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


def test_a_table_of_facts(place: Path) -> None:
    with pytest.raises(FilterZooError, match="is not a regular file"):
        read_table(place.name, place.parent)


def test_a_document(place: Path, tmp_path: Path) -> None:
    with Door(tmp_path / "cache") as door, pytest.raises(FilterZooError, match="is not a regular file"):
        text_at(place.name, door, place.parent, 1000)


def test_a_manifest(place: Path) -> None:
    with pytest.raises(FilterZooError, match="is not a regular file"):
        load_manifest(place, {})
