"""One pass over the filters of chosen layers: every needed row group is read once, several at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import StartError
from filterzoo.layer import Floats

Found = TypeVar("Found")
Watch = Callable[[int], None]
"""Told after each step how many filters it was."""

_POINTERS = ("filters_file", "filters_first_row", "filters_rows", "layer_id", "n_filters")


@dataclass(frozen=True, slots=True)
class Stored:
    """A layer in `filters`: `rows` rows of a file from row `first`."""

    path: str
    first: int
    rows: int
    layer_id: str
    n_filters: int


@dataclass(frozen=True, slots=True)
class Step:
    """Row groups of a file that are read together because a layer spans them, and the layers that begin in the first.

    low: number of the first row of `groups` in the file.
    """

    path: str
    groups: tuple[int, ...]
    low: int
    layers: tuple[Stored, ...]


def plan(files: PublishedFiles, table: pa.Table) -> list[Step]:
    """The steps of a pass over the layers in `table` (columns of `layers`), each distinct layer once."""
    table = table.filter(pc.is_valid(table["filters_file"]))
    columns = (table[name].to_pylist() for name in _POINTERS)
    stored = sorted({Stored(*row) for row in zip(*columns, strict=True)}, key=lambda each: (each.path, each.first))
    steps: list[Step] = []
    for path, layers in groupby(stored, key=lambda each: each.path):
        with files.open(path) as file:
            metadata = pq.read_metadata(file)
        sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        starts = np.cumsum([0, *sizes])
        steps.extend(_steps_of_file(path, list(layers), starts))
    return steps


def _steps_of_file(
    path: str, layers: list[Stored], starts: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Iterator[Step]:
    def first_group(layer: Stored) -> int:
        return int(np.searchsorted(starts, layer.first, side="right")) - 1

    for group, members in groupby(layers, key=first_group):
        here = tuple(members)
        last = int(np.searchsorted(starts, here[-1].first + here[-1].rows, side="left"))
        yield Step(path, tuple(range(group, max(last, group + 1))), int(starts[group]), here)


def run(
    files: PublishedFiles, steps: list[Step], work: Callable[[Floats], Found], watch: Watch | None = None
) -> Iterator[tuple[str, Found]]:
    """(layer_id, what `work` makes of its float32 (n, 9) filters) of every layer, in the order of the steps.

    `work` is called on several threads; memory is bounded by a few steps, each a row group or the largest layer.
    """
    workers = max(1, len(os.sched_getaffinity(0)))
    waiting: deque[tuple[Step, Future[list[tuple[str, Found]]]]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        try:
            for step in steps:
                waiting.append((step, threads.submit(_work_on, files, step, work)))
                if len(waiting) > 2 * workers:
                    yield from _finished(waiting, watch)
            while waiting:
                yield from _finished(waiting, watch)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _finished(
    waiting: deque[tuple[Step, Future[list[tuple[str, Found]]]]], watch: Watch | None
) -> Iterator[tuple[str, Found]]:
    step, future = waiting.popleft()
    yield from future.result()
    if watch:
        watch(sum(layer.n_filters for layer in step.layers))


def _work_on(files: PublishedFiles, step: Step, work: Callable[[Floats], Found]) -> list[tuple[str, Found]]:
    columns = ["layer_id", "weights"]
    with files.open(step.path) as file, pq.ParquetFile(file, pre_buffer=True) as parquet:
        table = parquet.read_row_groups(list(step.groups), columns=columns, use_threads=False).combine_chunks()
    ids, weights = (table[name].chunk(0) for name in columns)
    found = []
    for layer in step.layers:
        begin = layer.first - step.low
        end = begin + layer.rows
        filters: Floats = weights[begin:end].flatten().to_numpy().reshape(-1, 9)
        if {ids[begin].as_py(), ids[end - 1].as_py()} != {layer.layer_id} or len(filters) != layer.n_filters:
            raise StartError(f"{step.path}: row {layer.first} is not layer {layer.layer_id}; run filterzoo verify")
        found.append((layer.layer_id, work(filters)))
    return found
