"""filterzoo.load: any query gives what a reader of the whole tables would pick, and reads only what it needs."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.publish.folders import publish_in_small_row_groups, publish_models
from tests.publish.work import Model, weights, write_work, zoo

import filterzoo
from filterzoo.dataset import batches
from filterzoo.errors import FilterZooError, StartError
from filterzoo.layers.normalise import layer_id
from filterzoo.store import filters as layout


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return publish_in_small_row_groups(tmp_path_factory.mktemp("loading"))


def picked(condition=lambda model, name, depth: True, kernel=(3, 3)) -> np.ndarray:
    """The filters of the zoo's layers that fulfil a condition, in load's order, from the arrays that went in."""
    arrays = [
        array.reshape(-1, *kernel)
        for model in sorted(zoo(), key=lambda model: model.model_id)
        for index, (name, array) in enumerate(model.layers.items())
        if model.publish_weights
        and array.shape[2:] == kernel
        and condition(model, name, index / max(1, len(model.layers) - 1))
    ]
    return np.concatenate([*arrays, np.empty((0, *kernel), np.float32)])


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.dtype == np.float32 and found.shape == expected.shape and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ({}, lambda model, name, depth: True),
        ({"models": "pypi/a-net@1"}, lambda model, name, depth: model.id == "a-net"),
        ({"models": ["pypi/[ab]-*", "local/*"]}, lambda model, name, depth: model.id in {"a-net", "b-net", "big"}),
        ({"source": "local"}, lambda model, name, depth: model.source == "local"),
        ({"source": ["local", "pypi"]}, lambda model, name, depth: True),
        ({"task": "segmentation"}, lambda model, name, depth: model.id == "b-net"),
        ({"layers": "s*"}, lambda model, name, depth: name in {"stem", "shared"}),
        ({"depth": (0.5, 1)}, lambda model, name, depth: depth >= 0.5),
        ({"depth": (0, 0.4), "layers": "stem"}, lambda model, name, depth: name == "stem"),
        ({"kind": "conv"}, lambda model, name, depth: True),
        ({"kind": "depthwise"}, lambda model, name, depth: False),
        ({"models": "local/*", "task": "segmentation"}, lambda model, name, depth: False),
        ({"name": ["s*", "body"]}, lambda model, name, depth: name in {"stem", "shared", "body"}),
        ({"licence": "share-alike"}, lambda model, name, depth: model.id == "d-shares"),
        ({"min_n_filters": 31, "max_conv_depth": 1}, lambda model, name, depth: name in {"shared", "wide"}),
        ({"models": "pypi/e-secret@1"}, lambda model, name, depth: False),
        ({"where": pc.field("n_filters") > 30}, lambda model, name, depth: name in {"body", "shared", "wide"}),
    ],
)
@pytest.mark.filterwarnings("ignore:no layer fulfils")
def test_a_query_gives_its_filters_in_order(out, query, condition):
    assert same(filterzoo.load(str(out), **query), picked(condition))


@pytest.mark.parametrize("filters", [1, 100, 40_000])
def test_a_row_group_is_decoded_in_parts(out, monkeypatch, filters):
    monkeypatch.setattr(batches, "_NUMBERS", 9 * filters)
    assert same(filterzoo.load(str(out)), picked())
    assert same(filterzoo.load(str(out), limit=32_800), picked()[:32_800])


def test_a_layer_is_found_by_its_id(out):
    body = zoo()[0].layers["body"]
    everywhere = filterzoo.load(str(out), layers=layer_id(body))
    assert same(everywhere, np.concatenate([body.reshape(-1, 3, 3)] * 3))
    assert same(filterzoo.load(str(out), layers=layer_id(body), unique=True), body.reshape(-1, 3, 3))


@pytest.mark.parametrize("limit", [0, 1, 24, 25, 100, 40_000, 10**9])
def test_a_limit_takes_the_first(out, limit):
    assert same(filterzoo.load(str(out), limit=limit), picked()[:limit])


def test_rows_of_layers_come_along(out):
    filters, layers = filterzoo.load(str(out), models="pypi/*", return_layers=True)
    assert len(filters) == sum(layers["n_filters"].to_pylist())
    assert {"dct_histogram", "task", "filters_file"} <= set(layers.schema.names)
    _, few = filterzoo.load(str(out), models="pypi/*", return_layers=True, columns=["name", "shape"])
    assert few.equals(layers.select(["name", "shape"]))


def test_other_kernels_have_their_shape(tmp_path):
    write_work(tmp_path / "work", zoo()[:1], kernels=("3x3", "5x5", "1x1"))
    publish_models(tmp_path / "work", tmp_path / "out", [])
    head = zoo()[0].layers["head"]
    assert same(filterzoo.load(str(tmp_path / "out"), kernel="5x5"), head.reshape(-1, 5, 5))


def test_only_the_row_groups_of_the_query_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "ROW_GROUP_NUMBERS", 9 * 1_000)
    models = [Model(f"m{number}", {"w": weights(number, 30, 30, 3, 3)}) for number in range(8)]
    publish_models(tmp_path / "work", tmp_path / "out", models)
    read = []
    honest = pq.ParquetFile.iter_batches

    def watched(file: pq.ParquetFile, rows: int, *, row_groups: list[int], columns: list[str], **options):
        assert set(columns) == {"layer_id", "first_filter", "weights"}
        read.extend(row_groups)
        return honest(file, rows, row_groups=row_groups, columns=columns, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    filters = filterzoo.load(str(tmp_path / "out"), models=["pypi/m2@1", "pypi/m5@1"])
    assert sorted(read) == [2, 5]
    assert same(filters, np.concatenate([models[n].layers["w"].reshape(-1, 3, 3) for n in (2, 5)]))


def test_what_stands_behind_the_last_wanted_row_is_not_decoded(tmp_path, monkeypatch):
    layers = {f"l{number}": weights(number, 30, 30, 3, 3) for number in range(8)}
    publish_models(tmp_path / "work", tmp_path / "out", [Model("m", layers)])
    monkeypatch.setattr(batches, "_NUMBERS", 9 * 900)
    decoded = []
    honest = pq.ParquetFile.iter_batches

    def watched(*arguments, **options):
        for batch in honest(*arguments, **options):
            decoded.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", watched)
    filters = filterzoo.load(str(tmp_path / "out"), layers=["l0", "l2"])
    assert decoded == [1, 1, 1]
    assert same(filters, np.concatenate([layers[name].reshape(-1, 3, 3) for name in ("l0", "l2")]))


def test_a_pointer_to_the_wrong_rows_is_refused(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    path = next((tmp_path / "out/data/filters/pypi/permissive").glob("*.parquet"))
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.take(list(range(len(table)))[::-1]), path)
    with pytest.raises(FilterZooError, match="run filterzoo verify"):
        filterzoo.load(str(tmp_path / "out"), models="pypi/a-net@1")


def test_many_files_are_not_as_many_open_ones(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    expected = filterzoo.load(str(tmp_path / "out"))
    (path,) = (tmp_path / "out/data/layers/pypi/permissive").glob("*.parquet")
    table = pq.read_table(path, partitioning=None)
    path.unlink()
    for number in range(200):
        rows = table.slice(number, 1) if number < len(table) else table.slice(0, 0)
        pq.write_table(rows, path.with_name(f"{number:032x}.parquet"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/dev/fd").iterdir())) + 60, hard))
    try:
        assert same(filterzoo.load(str(tmp_path / "out")), expected)
        assert filterzoo.stats(str(tmp_path / "out")).count
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(StartError, match="no such folder"):
        filterzoo.load(str(tmp_path / "nothing"))
    with pytest.raises(FilterZooError, match="not a published data set"):
        filterzoo.load(str(tmp_path))
    with pytest.raises(StartError, match="has no revisions"):
        filterzoo.load(str(tmp_path), revision="v1")
