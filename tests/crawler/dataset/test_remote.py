"""Queries of a data set on another machine: what a folder gives, of few bytes, read by no thread but Python's."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem
from tests.publish.folders import publish_in_small_row_groups

import filterzoo
from filterzoo.dataset import loading, merged, sparse_copy
from filterzoo.dataset.published import PublishedFiles, open_folder
from filterzoo.dataset.query import LayerQuery


class FarAway(DirFileSystem):
    """A folder that pyarrow cannot open by itself; notes who reads how much of what."""

    cachable = False

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), LocalFileSystem(skip_instance_cache=True))
        self.reads: list[tuple[str, int, threading.Thread]] = []

    def open(self, path: str, mode: str = "rb", **_settings: Any) -> Any:
        return NotedFile(super().open(path, mode), path, self.reads)


class NotedFile:
    def __init__(self, file: Any, path: str, reads: list[tuple[str, int, threading.Thread]]) -> None:
        self._file = file
        self._path = path
        self._reads = reads

    def read(self, length: int = -1) -> bytes:
        data: bytes = self._file.read(length)
        self._reads.append((self._path, len(data), threading.current_thread()))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return publish_in_small_row_groups(tmp_path_factory.mktemp("remote"))


@pytest.fixture
def far(folder) -> FarAway:
    return FarAway(folder)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"source": "local"},
        {"models": "pypi/*", "depth": (0.5, 1)},
        {"where": pc.field("n_filters") > 30},
        {"where": (pc.field("n_finite") >= 0) & pc.field("licence_class").is_valid()},
        {"unique": True, "models": "local/*", "task": "segmentation"},
    ],
)
@pytest.mark.parametrize("columns", [None, [], ["n_finite", "raw_m2"]])
@pytest.mark.filterwarnings("ignore:no layer fulfils")
def test_rows_are_those_of_a_folder(folder, far, query, columns):
    asked = LayerQuery(**query)
    assert asked.rows(PublishedFiles(far, ""), columns).equals(asked.rows(open_folder(folder), columns))


@pytest.mark.parametrize("tail", [16, 1 << 20])
def test_a_footer_of_any_length_is_found(folder, far, monkeypatch, tail):
    monkeypatch.setattr(sparse_copy, "TAIL", tail)
    rows = LayerQuery().rows(PublishedFiles(far, ""), None)
    assert rows.equals(LayerQuery().rows(open_folder(folder), None))


def test_a_column_that_older_files_lack_is_null(folder, tmp_path):
    table = LayerQuery().rows(open_folder(folder), None)
    (tmp_path / "data" / "layers").mkdir(parents=True)
    pq.write_table(table, tmp_path / "data" / "layers" / f"{1:032x}.parquet")
    pq.write_table(table.drop_columns(["n_finite"]), tmp_path / "data" / "layers" / f"{2:032x}.parquet")
    found = LayerQuery().rows(PublishedFiles(FarAway(tmp_path), ""), ["n_finite"])
    assert found.num_rows == 2 * table.num_rows
    assert found["n_finite"].null_count == table.num_rows + table["n_finite"].null_count
    known = LayerQuery(where=pc.field("n_finite").is_valid()).rows(PublishedFiles(FarAway(tmp_path), ""), [])
    assert 0 < known.num_rows == table.num_rows - table["n_finite"].null_count


def test_a_column_that_nobody_has_is_named(far):
    with pytest.raises(ValueError, match=r"where: there is no column .sharpness."):
        LayerQuery(where=pc.field("sharpness") > 0).rows(PublishedFiles(far, ""), [])


def test_row_groups_without_a_match_are_not_fetched(tmp_path):
    folder = tmp_path / "data" / "layers"
    folder.mkdir(parents=True)
    columns = {name: [f"{name}{number:04}" for number in range(3_000)] for name in ("model_id", "name", "layer_id")}
    sources = ["a"] * 1_000 + ["b"] * 1_000 + ["c"] * 1_000
    table = pa.table({**columns, "layer_index": range(3_000), "kernel": ["3x3"] * 3_000, "source": sources})
    pq.write_table(table, folder / f"{0:032x}.parquet", row_group_size=1_000, compression="none", use_dictionary=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_copy, "TAIL", 16)
        one, every = FarAway(tmp_path), FarAway(tmp_path)
        assert LayerQuery(source="b").rows(PublishedFiles(one, ""), []).num_rows == 1_000
        assert LayerQuery().rows(PublishedFiles(every, ""), []).num_rows == 3_000
    assert sum(length for _, length, _ in one.reads) < 0.5 * sum(length for _, length, _ in every.reads)


def test_neighbouring_columns_come_in_one_read(far):
    LayerQuery().rows(PublishedFiles(far, ""), None)
    read = Counter(path for path, _, _ in far.reads)
    assert max(read.values()) <= 3, "the footer, at most twice, and the columns"


def test_each_row_group_of_filters_comes_in_one_read(folder, far, monkeypatch):
    near = filterzoo.load(str(folder))
    monkeypatch.setattr(loading, "open_published", lambda *_: PublishedFiles(far, ""))
    assert filterzoo.load("far").tobytes() == near.tobytes()
    reads = Counter(path.lstrip("/") for path, _, _ in far.reads if "/filters/" in path)
    groups = {path: pq.read_metadata(folder / path).num_row_groups for path in reads}
    assert max(groups.values()) > 1
    assert reads == {path: 1 + count for path, count in groups.items()}, "the footer, and each row group"


def test_only_threads_of_python_read(far, monkeypatch):
    """One of Arrow's that still waits for a Python file when Python ends aborts the program."""
    monkeypatch.setattr(loading, "open_published", lambda *_: PublishedFiles(far, ""))
    monkeypatch.setattr(merged, "open_published", lambda *_: PublishedFiles(far, ""))
    assert len(filterzoo.load("far", where=pc.field("n_filters") > 1))
    assert len(filterzoo.stats("far", by="source"))
    assert {path.split("/")[2] for path, _, _ in far.reads} == {"layers", "filters"}
    assert [path for path, _, thread in far.reads if isinstance(thread, threading._DummyThread)] == []
