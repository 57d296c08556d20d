"""A pass over the filters of chosen layers. Every needed row group is read once, in parallel."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

import pyarrow as pa

from filterzoo.dataset.batches import batches
from filterzoo.dataset.published import PublishedFiles
from filterzoo.errors import StartError
from filterzoo.layers.layer import Floats
from filterzoo_analysis.filters.kept import Kept, filling
from filterzoo_analysis.filters.steps import ReadingStep, Stored

Found = TypeVar("Found")
Work = Callable[[Iterator[Floats]], Found]
"""A function of all filters of a layer, which it gets in order, as float32 pieces (n, numbers of a filter)."""
Watch = Callable[[int], None]
"""Is called after each step with its number of filters."""


def run(
    files: PublishedFiles, steps: list[ReadingStep], work: Work[Found], kept: Kept, watch: Watch | None = None
) -> Iterator[tuple[str, Found]]:
    """(layer_id, result of `work` for its filters) of every layer, in the order of the steps.

    `work` runs on a thread for each core. A thread holds an encoded row group and a decoded part of it. Further memory
    is that of `work` and of the cache `kept`, which passes over the same steps share.
    """
    workers = max(1, len(os.sched_getaffinity(0)))
    waiting: deque[tuple[ReadingStep, Future[list[tuple[str, Found]]]]] = deque()
    with ThreadPoolExecutor(workers) as threads:
        try:
            for step in steps:
                waiting.append((step, threads.submit(_work_on, files, step, work, kept)))
                if len(waiting) > 2 * workers:
                    yield from _finished(waiting, watch)
            while waiting:
                yield from _finished(waiting, watch)
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def _finished(
    waiting: deque[tuple[ReadingStep, Future[list[tuple[str, Found]]]]], watch: Watch | None
) -> Iterator[tuple[str, Found]]:
    step, future = waiting.popleft()
    yield from future.result()
    if watch:
        watch(sum(layer.n_filters for layer in step.layers))


def _work_on(files: PublishedFiles, step: ReadingStep, work: Work[Found], kept: Kept) -> list[tuple[str, Found]]:
    known = kept.layers(step)
    if known is not None:
        return [(layer.layer_id, work(iter(pieces))) for layer, pieces in zip(step.layers, known, strict=True)]
    filled = kept.begin(step)
    with closing(_rest(files, step)) as rest:
        rows, found = _Rows(step, rest), []
        for place, layer in enumerate(step.layers):
            pieces = filling(filled[place] if filled else None, rows.filters(layer))
            found.append((layer.layer_id, work(pieces)))
    if filled:
        kept.finish(step, filled)
    return found


def _rest(files: PublishedFiles, step: ReadingStep) -> Generator[pa.RecordBatch]:
    """All rows of a step, in batches."""
    for group in step.groups:
        yield from batches(files, step.path, step.footer, group, ["layer_id", "weights"])


class _Rows:
    """The rows of a step. They must be requested in order and are decoded batch by batch."""

    def __init__(self, step: ReadingStep, rest: Iterator[pa.RecordBatch]) -> None:
        self._path = step.path
        self._rest = rest
        self._batch: pa.RecordBatch | None = None
        self._low = self._high = step.low
        """Row numbers in the file: the first row of the batch, and the first row after it."""

    def filters(self, layer: Stored) -> Iterator[Floats]:
        """The layer's filters, piece by piece; StartError if they are not at the place that `layers` gives."""
        row, end, count = layer.first, layer.first + layer.rows, 0
        while row < end:
            rows = self._from(row)[: end - row]
            ids = {rows["layer_id"][place].as_py() for place in (0, -1) if len(rows)}
            if ids != {layer.layer_id}:
                break
            filters: Floats = rows["weights"].flatten().to_numpy().reshape(-1, layer.numbers)
            yield filters
            row, count = row + len(rows), count + len(filters)
        if count != layer.n_filters:
            raise StartError(f"{self._path}: row {layer.first} is not layer {layer.layer_id}; run filterzoo verify")

    def _from(self, row: int) -> pa.RecordBatch:
        """The rows of the batch from the given row on; nothing for a row outside all batches."""
        while self._high <= row and (batch := next(self._rest, None)) is not None:
            self._batch, self._low, self._high = batch, self._high, self._high + len(batch)
        if self._batch is None or not self._low <= row < self._high:
            return []
        return self._batch[row - self._low :]
