"""One pass over the filters of chosen layers: every needed row group is read once, several at a time."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filterzoo.dataset.batches import batches
from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import StartError
from filterzoo.layer import Floats

Found = TypeVar("Found")
Work = Callable[[Iterator[Floats]], Found]
"""Makes something of all the filters of a layer, float32 (n, 9) pieces of it in their order."""
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

    footer: of the file. low: number of the first row of `groups` in it.
    """

    path: str
    footer: pq.FileMetaData
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
        with files.native(path) as file:
            footer = pq.read_metadata(file)
        steps.extend(_steps_of_file(path, footer, list(layers)))
    return steps


def _steps_of_file(path: str, footer: pq.FileMetaData, layers: list[Stored]) -> Iterator[Step]:
    starts = np.cumsum([0, *(footer.row_group(number).num_rows for number in range(footer.num_row_groups))])

    def first_group(layer: Stored) -> int:
        return int(np.searchsorted(starts, layer.first, side="right")) - 1

    for group, members in groupby(layers, key=first_group):
        here = tuple(members)
        last = int(np.searchsorted(starts, here[-1].first + here[-1].rows, side="left"))
        groups = range(group, min(max(last, group + 1), footer.num_row_groups))
        yield Step(path, footer, tuple(groups), int(starts[group]), here)


def run(
    files: PublishedFiles, steps: list[Step], work: Work[Found], watch: Watch | None = None
) -> Iterator[tuple[str, Found]]:
    """(layer_id, what `work` makes of its filters) of every layer, in the order of the steps.

    `work` is called on as many threads as there are cores. Each holds a row group as it is stored and a part of it
    decoded, so that memory is bounded by what `work` keeps.
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


def _work_on(files: PublishedFiles, step: Step, work: Work[Found]) -> list[tuple[str, Found]]:
    with closing(_rest(files, step)) as rest:
        rows = _Rows(step, rest)
        return [(layer.layer_id, work(rows.filters(layer))) for layer in step.layers]


def _rest(files: PublishedFiles, step: Step) -> Generator[pa.RecordBatch]:
    """All rows of a step, batch by batch."""
    for group in step.groups:
        yield from batches(files, step.path, step.footer, group, ["layer_id", "weights"])


class _Rows:
    """The rows of a step, decoded batch by batch as they are asked for, in order."""

    def __init__(self, step: Step, rest: Iterator[pa.RecordBatch]) -> None:
        self._path = step.path
        self._rest = rest
        self._batch: pa.RecordBatch | None = None
        self._low = self._high = step.low
        """Numbers in the file of the first row of the batch and of the first behind it."""

    def filters(self, layer: Stored) -> Iterator[Floats]:
        """The layer's filters, piece by piece; StartError where they are not what `layers` says."""
        row, end, count = layer.first, layer.first + layer.rows, 0
        while row < end:
            rows = self._from(row)[: end - row]
            ids = {rows["layer_id"][place].as_py() for place in (0, -1) if len(rows)}
            if ids != {layer.layer_id}:
                break
            filters: Floats = rows["weights"].flatten().to_numpy().reshape(-1, 9)
            yield filters
            row, count = row + len(rows), count + len(filters)
        if count != layer.n_filters:
            raise StartError(f"{self._path}: row {layer.first} is not layer {layer.layer_id}; run filterzoo verify")

    def _from(self, row: int) -> pa.RecordBatch:
        """What the batch that holds a row has from there on; nothing of a row that lies before or behind all."""
        while self._high <= row and (batch := next(self._rest, None)) is not None:
            self._batch, self._low, self._high = batch, self._high, self._high + len(batch)
        if self._batch is None or not self._low <= row < self._high:
            return []
        return self._batch[row - self._low :]
