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
import pytest
from tests.crawler.checkpoints import layer, measure, weights

from filterzoo.store.fragments import BLOCK, FILTER_SCHEMA, LAYER_SCHEMA, FragmentStore

ALL = frozenset({"3x3"})


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    url = str(tmp_path / "fragments") if request.param == "folder" else f"memory://{tmp_path.name}-{os.getpid()}"
    return FragmentStore(url, tmp_path / "scratch")


def write(store: FragmentStore, *layers, kernels=ALL) -> tuple[str, str | None]:
    with store.writer(kernels) as writer:
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
    batches = list(store.filters(filters_name))
    assert [batch.schema for batch in batches] == [FILTER_SCHEMA] * 2
    assert [batch["layer_id"].to_pylist() for batch in batches] == [[listed[0].layer_id], [listed[1].layer_id]]
    for batch, expected in zip(batches, (first, second), strict=True):
        assert batch["weights"].values.to_numpy().tobytes() == expected.tobytes()
        assert batch["n_filters"].to_pylist() == [expected.shape[0] * expected.shape[1]]


def test_large_layers_come_in_blocks(store):
    wide = weights(1, 3, BLOCK // 2, 3, 3)
    _, filters_name = write(store, layer(0, wide))
    (batch,) = store.filters(filters_name)
    assert batch["first_filter"].to_pylist() == [0, BLOCK]
    assert batch["n_filters"].to_pylist() == [BLOCK, BLOCK // 2]
    joined = np.concatenate([np.array(block.as_py(), np.float32) for block in batch["weights"]])
    assert joined.tobytes() == wide.tobytes()


def test_nan_inf_and_hostile_names_are_kept(store):
    odd = weights(1)
    odd[0, 0] = [[np.nan, np.inf, -np.inf], [0, -0.0, 1e-45], [3e38, 1, 2]]
    name = "\0\x1b[2J\u202e../" + "x" * 100_000
    layers_name, filters_name = write(store, layer(0, odd, name=name))
    assert store.layers(layers_name)["name"].to_pylist() == [name]
    (batch,) = store.filters(filters_name)
    assert batch["weights"].values.to_numpy(zero_copy_only=False).tobytes() == odd.tobytes()
    assert batch["weights"].values.null_count == 0


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
    path = tmp_path / "one" / layers_name[:2] / f"{layers_name}.arrow"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == layers_name
    assert write(one, *listed[::-1]) != (layers_name, filters_name)


def test_nothing_is_seen_before_the_end_and_nothing_remains_of_a_failure(tmp_path):
    store = FragmentStore(str(tmp_path / "fragments"), tmp_path / "scratch")
    with pytest.raises(KeyError, match="layer 40"), store.writer(ALL) as writer:  # noqa: PT012  # a checkpoint that breaks
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
        assert {path.suffix for path in files(folder)} == {".arrow"}
    finally:
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.rmdir()


ENDLESS = """
import sys
from pathlib import Path
from tests.crawler.store.test_fragments import ALL, FragmentStore, layer, measure, weights
store = FragmentStore(sys.argv[1] + "/fragments", Path(sys.argv[1]) / "scratch")
for seed in range(10**9):
    with store.writer(ALL) as writer:
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
            for batch in store.filters(path.stem):
                batch.validate(full=True)
        assert first.endswith(b"\n")
        for line in written:
            if not line.endswith(b"\n"):
                continue  # it was killed while it said so
            layers_name, filters_name = line.decode().split()
            assert store.layers(layers_name).num_rows == 20
            assert {path.stem for path in whole} >= {layers_name, filters_name}
