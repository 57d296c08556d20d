"""Read rates of filters: load_dataset, streaming and filterzoo.load, against h5py on the layout of CNN Filter DB.

The data set has random normal weights in 3x3 layers of 32,768 filters, 16 layers a model, and is written by the
publisher's writer. A fifth of the models have the task `detection`. The HDF5 file holds the same filters in the layout
of CNN Filter DB: a table of float32 rows with 9 weights and 9 numbers of metadata, 72 bytes a filter. Each way runs in
processes of its own. Rates count filters whose numbers were summed. Prints medians over processes.

`load_dataset` and streaming are read as a user would, row by row (a row is a block of filters), by one process, and by
two processes that read one half each (`shard`). There are four passes, because the first pass includes page faults of
new memory. Opening (import of torch by `datasets`, requests to the Hub) is timed separately. The Hub on loopback, which
redirects to a storage server for large files as the real one does, shares the cores with the readers. On a busy
machine, compare the rates per CPU second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from tests.hub_server import serve
from tests.servers import WebServer

from filterzoo.layers.layer import Floats
from filterzoo.store.filters import BLOCK
from filterzoo_publish.schema import arrow_schema
from filterzoo_publish.shards.parquet import Shard, ShardWriter

FILTERS = 20_000_000
LAYERS = 16
MODELS_A_FILE = 19
MODELS_A_ROW_GROUP = 1

PREPARED = """
import sys
from datasets import load_dataset
load_dataset(sys.argv[1], "filters", split="train", cache_dir=sys.argv[2])
print([])
"""
PASSES = """
import json, statistics, sys, time
def passes(read, opened=0):
    runs = []
    for _ in range(4):
        start, cpu = time.perf_counter(), time.process_time()
        count = read()
        runs.append((time.perf_counter() - start, time.process_time() - cpu))
    later = [statistics.median(column) for column in zip(*runs[1:])]
    return [count, opened, runs[0][0], *later]
"""
ROW_BY_ROW = (
    PASSES
    + """
from datasets import load_dataset
def read():
    count = total = 0
    for row in rows:
        filters = row["weights"].reshape(-1, 3, 3)
        count += len(filters)
        total += float(filters.sum())
    return count
start = time.perf_counter()
rows = load_dataset(sys.argv[1], "filters", split="train", {how}).select_columns(["weights"]).with_format("numpy")
rows = rows.shard(int(sys.argv[3]), int(sys.argv[4]))
print(json.dumps(passes(read, time.perf_counter() - start)))
"""
)
LOADED = ROW_BY_ROW.replace("{how}", "cache_dir=sys.argv[2]")
STREAMED = ROW_BY_ROW.replace("{how}", "streaming=True")
QUERIED = """
import json, sys, time
import filterzoo
filterzoo.load(sys.argv[1], limit=0)
start = time.perf_counter()
filterzoo.load(sys.argv[1], task="detection", depth=(0, 0.05), limit=0)
resolved = time.perf_counter() - start
start = time.perf_counter()
filters = filterzoo.load(sys.argv[1], task="detection", depth=(0, 0.05))
print(json.dumps([len(filters), resolved, time.perf_counter() - start]))
"""
EVERYTHING = (
    PASSES
    + """
import filterzoo
def read():
    filters = filterzoo.load(sys.argv[1])
    filters.sum()
    return len(filters)
print(json.dumps(passes(read)))
"""
)
UPLOADED = """
import sys
from huggingface_hub import HfApi
HfApi().create_repo(sys.argv[2], repo_type="dataset")
HfApi().upload_folder(repo_id=sys.argv[2], repo_type="dataset", folder_path=sys.argv[1])
print([])
"""
HDF5 = (
    PASSES
    + """
import h5py
def read():
    with h5py.File(sys.argv[1]) as file:
        filters = file["filters"][:, :9].reshape(-1, 3, 3)
    filters.sum()
    return len(filters)
everything = passes(read)
start = time.perf_counter()
with h5py.File(sys.argv[1]) as file:
    meta = file["filters"][:, 9:11]
    first = file["filters"][(meta[:, 0] == 1) & (meta[:, 1] <= 0.05), :9]
print(json.dumps([*everything, len(first), time.perf_counter() - start]))
"""
)


def models(count: int) -> Iterator[tuple[str, str, list[Floats]]]:
    """(model id, task, layers) of each model. Layers are (256, 128, 3, 3)."""
    generator = np.random.default_rng(0)
    for number in range(count):
        task = "detection" if number % 5 == 0 else "classification"
        layers = [generator.standard_normal((256, 128, 3, 3), np.float32) / np.float32(34) for _ in range(LAYERS)]
        yield f"made/{number:04}@1", task, layers


def write(folder: Path, hdf5: Path, count: int) -> None:
    """Write the data set (configs filters and layers) and the HDF5 file, with `count` models."""
    (folder / "data").mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    waiting = list[tuple[str, str, list[Floats]]]()
    with h5py.File(hdf5, "w") as file:
        table = file.create_dataset("filters", (count * LAYERS * BLOCK, 18), np.float32, chunks=(BLOCK, 18))
        for number, model in enumerate(models(count)):
            waiting.append(model)
            for place, layer in enumerate(model[2]):
                meta = np.zeros((BLOCK, 18), np.float32)
                meta[:, :9], meta[:, 9] = layer.reshape(-1, 9), model[1] == "detection"
                meta[:, 10] = place / (LAYERS - 1)
                first = (number * LAYERS + place) * BLOCK
                table[first : first + BLOCK] = meta
            if len(waiting) == MODELS_A_FILE or number == count - 1:
                rows += _write_filters(folder, waiting)
                waiting.clear()
    with ShardWriter(folder, "layers") as writer:
        writer.write(pa.Table.from_pylist(rows, schema=arrow_schema("layers")))
        _place(folder, writer.finish("made", "permissive"))
    configs = "".join(
        f"- config_name: {name}\n  data_files: data/{name}/**/*.parquet\n" for name in ("layers", "filters")
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{configs}---\n")


def _write_filters(folder: Path, several: list[tuple[str, str, list[Floats]]]) -> list[dict[str, Any]]:
    """Write a file with the models' filters; returns their rows of `layers`."""
    blocks: list[dict[str, Any]] = []
    with ShardWriter(folder, "filters") as writer:
        for start in range(0, len(several), MODELS_A_ROW_GROUP):
            group = [block for model in several[start : start + MODELS_A_ROW_GROUP] for block in _blocks(*model)]
            writer.write(pa.Table.from_pylist(group, schema=arrow_schema("filters")))
            blocks += [{name: value for name, value in block.items() if name != "weights"} for block in group]
        shard = _place(folder, writer.finish("made", "permissive"))
    return [
        block
        | {"layer_index": row % LAYERS, "name": f"layer{row % LAYERS}", "kind": "conv", "filters_file": shard.path}
        | {"filters_first_row": row, "filters_rows": 1, "n_finite": BLOCK}
        for row, block in enumerate(blocks)
    ]


def _blocks(model_id: str, task: str, layers: list[Floats]) -> Iterator[dict[str, Any]]:
    for place, layer in enumerate(layers):
        yield {
            "layer_id": f"{model_id}-{place}",
            "model_id": model_id,
            "source": "made",
            "licence_class": "permissive",
            "kernel": "3x3",
            "task": task,
            "conv_depth_norm": place / (LAYERS - 1),
            "first_filter": 0,
            "n_filters": BLOCK,
            "weights": layer.reshape(-1),
        }


def _place(folder: Path, shard: Shard) -> Shard:
    target = folder / shard.path
    target.parent.mkdir(parents=True, exist_ok=True)
    shard.local.rename(target)
    return shard


def _timed(script: str, *arguments: Any, repeat: int, **environment: str) -> list[float]:
    """The medians of the numbers that a script prints, over `repeat` processes."""
    runs = [_printed([_start(script, *arguments, **environment)])[0] for _ in range(repeat)]
    return [statistics.median(column) for column in zip(*runs, strict=True)]


def _timed_by(readers: int, script: str, *arguments: Any, repeat: int, **environment: str) -> list[float]:
    """`_timed` for processes that read a share each, in parallel: sums of filters and CPU, times of the slowest."""
    runs = []
    for _ in range(repeat):
        started = [_start(script, *arguments, readers, number, **environment) for number in range(readers)]
        counts, *times, cpu = zip(*_printed(started), strict=True)
        runs.append([sum(counts), *map(max, times), sum(cpu)])
    return [statistics.median(column) for column in zip(*runs, strict=True)]


def _start(script: str, *arguments: Any, **environment: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, env={**os.environ, **environment}, stdout=subprocess.PIPE)


def _printed(processes: list[subprocess.Popen[bytes]]) -> list[list[float]]:
    printed = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit("a reader failed")
    return [json.loads(text.splitlines()[-1]) for text in printed]


def main() -> None:
    """Write the data set, read it in every way `--repeat` times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--filters", type=int, default=FILTERS)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="filterzoo-bench-"))
    try:
        _measure(folder, max(1, round(arguments.filters / (LAYERS * BLOCK))), arguments.repeat)
    finally:
        shutil.rmtree(folder)


def _measure(folder: Path, count: int, repeat: int) -> None:
    made, hdf5 = folder / "made", folder / "filters.h5"
    write(made, hdf5, count)
    total = count * LAYERS * BLOCK
    size = sum(path.stat().st_size for path in (made / "data/filters").rglob("*.parquet"))
    print(
        f"{total / 1e6:.1f} M filters: {size / total:.2f} B a filter in Parquet, "
        f"{hdf5.stat().st_size / total:.2f} in HDF5",
        flush=True,
    )
    home = {
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    _timed(PREPARED, made, folder / "cache", repeat=1, **home)
    for readers in (1, 2):
        found, *times = _timed_by(readers, LOADED, made, folder / "cache", repeat=repeat, **home)
        _report_passes(f"load_dataset, numpy, cached, readers: {readers}", found, *times)
    with WebServer() as storage, serve(storage) as hub:
        _timed(UPLOADED, made, "alice/made", repeat=1, **(home | hub.environment))
        for readers in (1, 2):
            found, *times = _timed_by(readers, STREAMED, "alice/made", "", repeat=repeat, **(home | hub.environment))
            _report_passes(f"streaming from loopback, readers: {readers}", found, *times)
    found, *times = _timed(EVERYTHING, made, repeat=repeat)
    _report_passes("filterzoo.load, everything", found, *times)
    found, *times, few, query = _timed(HDF5, hdf5, repeat=repeat)
    _report_passes("h5py, everything", found, *times)
    found, resolved, seconds = _timed(QUERIED, made, repeat=repeat)
    assert found == few
    print(
        f"task and depth, {found / 1e6:.2f} M filters: layers found in {resolved:.3f} s, "
        f"filters in memory after {seconds:.3f} s; h5py {query:.3f} s"
    )


def _report_passes(name: str, filters: float, *times: float) -> None:
    """Print rates. times: seconds of opening, of the first pass, of a later pass, and CPU seconds of a later pass."""
    opened, first, later, cpu = times
    print(f"{name}: opened in {opened:.2f} s" if opened else name)
    print(f"  first pass   {first:7.2f} s {filters / first / 1e6:8.1f} M filters/s")
    rate, core = filters / later / 1e6, filters / cpu / 1e6
    print(f"  later passes {later:7.2f} s {rate:8.1f} M filters/s, {core:.1f} a second of the readers' CPU", flush=True)


if __name__ == "__main__":
    main()
