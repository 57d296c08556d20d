"""Fragments appear whole or not at all, under names that say what is in them, and give back what went in."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.crawler.checkpoints import layer, measure, weights

from filterzoo.dataset.parquet import ParquetFile
from filterzoo.store.encoding import EncodedFile
from filterzoo.store.filters import BLOCK, FILTER_SCHEMA, PUBLISHED_SCHEMA, WEIGHTS, Axes
from filterzoo.store.fragments import FILTERS, LAYER_SCHEMA, LAYERS, FragmentStore
from filterzoo.store.sample import LARGEST_QUOTA, draw

ALL = frozenset({"3x3"})
AXES = Axes("zoo/a@1", "zoo", "permissive", None, "natural")


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    url = str(tmp_path / "fragments") if request.param == "folder" else f"memory://{tmp_path.name}-{os.getpid()}"
    return FragmentStore(url, tmp_path / "scratch")


def write(store: FragmentStore, *layers, kernels=ALL) -> tuple[str, str | None]:
    with store.writer(kernels, AXES, {}) as writer:
        for each in layers:
            writer.add(each, measure())
        return writer.finish()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_goes_in_comes_out(store):
    first, second = weights(1), weights(2, 3, 5, 3, 3)
    listed = [layer(0, first, stride=(1, 2)), layer(1, second), layer(2, first), layer(3, weights(3, 2, 2, 1, 1))]
    layers_name, filters_name = write(store, *listed)
    table = store.layers(layers_name)
    assert table.schema == LAYER_SCHEMA
    rows = table.to_pylist()
    assert [row["layer_id"] for row in rows] == [each.layer_id for each in listed]
    assert [row["kernel"] for row in rows] == ["3x3", "3x3", "3x3", "1x1"]
    assert (rows[0]["stride"], rows[0]["dilation"], rows[0]["padding"]) == ([1, 2], [1, 1], None)
    assert (rows[0]["raw_m2"], rows[0]["dct_histogram"]) == (list(range(45)), list(range(630)))
    assert (rows[0]["scaled_mean"], rows[0]["orthogonality"], rows[0]["l1_norm"]) == (None, None, 1.5)
    tables = list(store.filters(filters_name))
    assert [table.schema for table in tables] == [FILTER_SCHEMA] * 2
    assert [table["layer_id"].to_pylist() for table in tables] == [[listed[0].layer_id], [listed[1].layer_id]]
    for table, expected in zip(tables, (first, second), strict=True):
        assert numbers_of(table).tobytes() == expected.tobytes()
        assert table["n_filters"].to_pylist() == [expected.shape[0] * expected.shape[1]]
    (only,) = store.filters(filters_name, frozenset({listed[1].layer_id}))
    assert only.equals(tables[1])


def numbers_of(table: pa.Table) -> np.ndarray:
    """All weights of a layer's blocks, in order."""
    return np.concatenate([chunk.flatten().to_numpy() for chunk in table["weights"].chunks])


def test_filters_are_stored_as_they_are_published(tmp_path):
    store = FragmentStore(str(tmp_path / "fragments"), tmp_path / "scratch")
    _, name = write(store, layer(0, weights(1)), layer(1, weights(2)))
    table = pq.read_table(tmp_path / "fragments" / name[:2] / f"{name}{FILTERS}")
    assert table.schema.equals(PUBLISHED_SCHEMA)
    assert {one: table[one].to_pylist() for one in Axes._fields} == {
        one: [value] * 2 for one, value in AXES._asdict().items()
    }
    place = tmp_path / "taken"
    store.link_or_copy(name, place)
    assert hashlib.sha256(place.read_bytes()).hexdigest() == name
    assert place.stat().st_nlink == 2
    store.link_or_copy(name, tmp_path / "linked", as_link=True)
    assert (tmp_path / "linked").is_symlink()


@pytest.mark.parametrize("value", [pytest.param(0.0, marks=pytest.mark.slow), 0.5])
def test_equal_weights_leave_a_file_that_readers_take(tmp_path, value):
    """They compress to nothing, and a small file that gets large in memory is taken for a bomb."""
    place = tmp_path / "filters"
    rows = pa.table({"weights": pa.array([np.full(1 << 20, value, np.float32)] * 40, WEIGHTS)})
    file = EncodedFile(place, rows.schema)
    for first in range(0, 40, 4):  # as large as row groups of releases are
        file.write(rows.slice(first, 4))
    sha256, size = file.finish()
    assert (sha256, size) == (hashlib.sha256(place.read_bytes()).hexdigest(), place.stat().st_size)
    assert size < rows.nbytes / 30
    with place.open("rb") as source, ParquetFile(source) as parquet:
        assert parquet.read().equals(rows)
        column = parquet.metadata.row_group(0).column(0)
        assert column.has_offset_index
    assert pq.read_table(place).equals(rows)


def test_large_layers_come_in_blocks_and_row_groups(store):
    wide = weights(1, 20, BLOCK, 3, 3)
    listed = [layer(0, weights(2)), layer(1, wide), layer(2, weights(3))]
    _, filters_name = write(store, *listed)
    _, table, _ = store.filters(filters_name)
    assert table["first_filter"].to_pylist() == list(range(0, 20 * BLOCK, BLOCK))
    assert table["n_filters"].to_pylist() == [BLOCK] * 20
    assert numbers_of(table).tobytes() == wide.tobytes()
    with store.open_filters(filters_name) as file:
        assert file.places() == {
            listed[0].layer_id: (0, 0, 1),
            listed[1].layer_id: (1, 1, 20),
            listed[2].layer_id: (2, 21, 1),
        }


@pytest.mark.parametrize("expected", [{}, {"3x3": 80_000}])
def test_the_sample_is_taken_on_the_way(store, expected):
    """With the right number of filters it is taken as they come, otherwise from the file: the same draw."""
    listed = [layer(0, weights(1, 200, 300, 3, 3)), layer(1, weights(2)), layer(2, weights(3, 20_000, 1, 3, 3))]
    listed[1] = layer(1, weights(2, 4, 2, 1, 1))
    with store.writer(ALL, AXES, expected) as writer:
        for each in listed:
            writer.add(each, measure())
        layers_name, _ = writer.finish()
    chosen = draw(AXES.model_id, [(each.layer_id, each.n_filters) for each in (listed[0], listed[2])], LARGEST_QUOTA)
    sample = store.sample(layers_name)
    assert sum(len(numbers) for numbers, _ in sample.values()) == LARGEST_QUOTA
    assert list(sample) == [listed[0].layer_id, listed[2].layer_id]
    for each in (listed[0], listed[2]):
        numbers, found = sample[each.layer_id]
        assert numbers.tolist() == chosen[each.layer_id].tolist()
        assert found.tobytes() == each.weights.reshape(-1, 9)[numbers].tobytes()


def test_nan_inf_and_hostile_names_are_kept(store):
    odd = weights(1)
    odd[0, 0] = [[np.nan, np.inf, -np.inf], [0, -0.0, 1e-45], [3e38, 1, 2]]
    name = "\0\x1b[2J\u202e../" + "x" * 100_000
    layers_name, filters_name = write(store, layer(0, odd, name=name))
    assert store.layers(layers_name)["name"].to_pylist() == [name]
    (table,) = store.filters(filters_name)
    assert numbers_of(table).tobytes() == odd.tobytes()


def test_no_wanted_kernel_means_no_filters(store):
    layers_name, filters_name = write(store, layer(0, weights(1)), kernels=frozenset())
    assert filters_name is None
    assert store.layers(layers_name).num_rows == 1
    empty, none = write(store)
    assert (store.layers(empty).num_rows, none) == (0, None)


def test_names_say_what_is_inside(tmp_path):
    one, two = (FragmentStore(str(tmp_path / name), tmp_path / f"scratch {name}") for name in ("one", "two"))
    listed = [layer(0, weights(1)), layer(1, weights(2))]
    assert write(one, *listed) == write(two, *listed) == write(one, *listed)
    contents = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in files(tmp_path / name)}
        for name in ("one", "two")
    ]
    assert contents[0] == contents[1]
    layers_name, filters_name = write(one, *listed)
    assert one.exists(layers_name)
    assert one.exists(filters_name)
    for name, suffix in ((layers_name, LAYERS), (filters_name, FILTERS)):
        path = tmp_path / "one" / name[:2] / f"{name}{suffix}"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == name
    assert write(one, *listed[::-1]) != (layers_name, filters_name)


def test_nothing_is_visible_before_the_end_and_a_failure_leaves_nothing(tmp_path):
    store = FragmentStore(str(tmp_path / "fragments"), tmp_path / "scratch")
    with pytest.raises(KeyError, match="layer 40"), store.writer(ALL, AXES, {}) as writer:  # noqa: PT012  # a checkpoint that breaks
        writer.add(layer(0, weights(1)), measure())
        assert files(tmp_path / "fragments") == []
        raise KeyError("layer 40")
    assert files(tmp_path) == []
    assert list((tmp_path / "scratch").iterdir()) == []


def test_another_file_system_gets_a_whole_file(tmp_path):
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system")
    folder = shared / f"filterzoo-test-{os.getpid()}"
    try:
        store = FragmentStore(str(folder), tmp_path / "scratch")
        layers_name, _ = write(store, layer(0, weights(1)))
        assert store.layers(layers_name).num_rows == 1
        assert {path.suffix for path in files(folder)} == {LAYERS, FILTERS}
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.rmdir()


ENDLESS = """
import sys
from pathlib import Path
from tests.crawler.store.test_fragments import ALL, AXES, FragmentStore, layer, measure, weights
store = FragmentStore(sys.argv[1] + "/fragments", Path(sys.argv[1]) / "scratch")
for seed in range(10**9):
    with store.writer(ALL, AXES, {}) as writer:
        for number in range(20):
            writer.add(layer(number, weights(seed * 20 + number, 64, 64, 3, 3)), measure())
        print(*writer.finish(), flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_whole_fragments_only(tmp_path):
    root = Path(__file__).parents[3]
    for run in range(4):
        folder = tmp_path / str(run)
        process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(folder)], stdout=subprocess.PIPE, cwd=root)
        try:
            first = process.stdout.readline()
            time.sleep(0.02 * run)
        finally:
            process.send_signal(signal.SIGKILL)
            written = [first, *process.stdout.read().splitlines(keepends=True)]
            process.wait()
            process.stdout.close()
        store = FragmentStore(str(folder / "fragments"), folder / "scratch")
        whole = files(folder / "fragments")
        for path in whole:
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.stem
        assert first.endswith(b"\n")
        for line in written:
            if not line.endswith(b"\n"):
                continue  # it was killed while it said so
            layers_name, filters_name = line.decode().split()
            assert store.layers(layers_name).num_rows == 20
            assert {path.stem for path in whole} >= {layers_name, filters_name}
