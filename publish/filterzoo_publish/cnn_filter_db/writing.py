"""Writes the file: filters batch by batch, then the table. It is renamed to its final name when complete."""

from __future__ import annotations

import contextlib
import csv
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from filterzoo.dataset.loading import Footers, checked_footers, copy_filters
from filterzoo.dataset.published import PublishedFiles, first_line
from filterzoo.dataset.untrusted import WRONG_CONTENT
from filterzoo.durable import settle, sync
from filterzoo.errors import FilterZooError, StartError, StorageFailed, raise_disk_trouble
from filterzoo.reporting.progress import watched
from filterzoo_publish.cnn_filter_db.frame import write_frame
from filterzoo_publish.cnn_filter_db.table import ExportTable

BATCH = 1 << 20
"""Filters that are read and written at a time; a larger layer is written as a whole."""


def write(files: PublishedFiles, planned: ExportTable, out: Path) -> None:
    """Write `/filters`, (n, 3, 3) float64, and `/meta`; beside it the table of pairs, where there are any.

    StartError where one of the files exists or cannot be created. Memory: a batch, in float32 and float64, and the
    table. StorageFailed where writing fails.
    """
    if os.path.lexists(out):
        raise StartError(f"{out}: is there already; name a new file")
    pairs = pairs_file(out)
    if planned.pairs and os.path.lexists(pairs):
        raise StartError(f"{pairs}: is there already; name a new file")
    with _reading(files):
        footers = checked_footers(files, planned.layers, planned.counts)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        with _disk_trouble(out), h5py.File(part, "x") as file:
            filters = file.create_dataset("filters", (sum(planned.counts), 3, 3), np.float64)
            watched(_copied(files, planned, filters, footers), len(filters), f"writing {out.name}")
            write_frame(file.create_group("meta"), planned.index, planned.columns)
            file.flush()
        with _disk_trouble(out):
            if planned.pairs:
                _write_pairs(planned, pairs)
            _settle(part, out)
    finally:
        part.unlink(missing_ok=True)


def pairs_file(out: Path) -> Path:
    """Where the table of pairs of OUT.h5 stands: `OUT.robust_vs_normal_pairings.csv`."""
    return out.with_name(f"{out.stem}.robust_vs_normal_pairings.csv")


def _write_pairs(planned: ExportTable, path: Path) -> None:
    """The table as `pandas.read_csv(path, index_col=0)` reads it."""
    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["", *_PAIR])
        writer.writeheader()
        writer.writerows({"": number, **row} for number, row in enumerate(planned.pairs))
        sync(file)


_PAIR = ("Robust", "Normal", "Arch", "Dataset")


def _settle(part: Path, out: Path) -> None:
    """Rename the complete file, unless the name exists by now."""
    if os.path.lexists(out):
        raise StartError(f"{out}: was made by somebody else meanwhile; name a new file")
    settle(part, out)


@contextlib.contextmanager
def _disk_trouble(out: Path) -> Iterator[None]:
    """h5py raises RuntimeError where it cannot flush its buffers."""
    try:
        yield
    except FilterZooError:
        raise
    except OSError as error:
        raise_disk_trouble(error, str(out.parent))
        raise StartError(f"{out}: cannot be written: {error.strerror or error}") from error
    except RuntimeError as error:
        raise StorageFailed(f"{out.parent} cannot be written to: {error}; free space and try again") from error


@contextlib.contextmanager
def _reading(files: PublishedFiles) -> Iterator[None]:
    """Errors inside are the data set's, not those of the output folder."""
    try:
        yield
    except (OSError, *WRONG_CONTENT) as error:
        raise FilterZooError(f"{files.root}: {first_line(error)}; run filterzoo verify") from error


def _copied(files: PublishedFiles, planned: ExportTable, filters: h5py.Dataset, footers: Footers) -> Iterator[int]:
    """Copy all filters; yields the number of each batch."""
    done = 0
    for begin, end in _batches(planned.counts):
        counts = planned.counts[begin:end]
        batch = np.empty((sum(counts), 9), np.float32)
        with _reading(files):
            deque(copy_filters(batch, files, planned.layers.slice(begin, end - begin), counts, footers), maxlen=0)
        filters[done : done + len(batch)] = batch.reshape(-1, 3, 3)
        done += len(batch)
        yield len(batch)


def _batches(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Layers [begin, end) with at most `BATCH` filters, or one layer."""
    begin = size = 0
    for place, count in enumerate(counts):
        if size and size + count > BATCH:
            yield begin, place
            begin, size = place, 0
        size += count
    if size:
        yield begin, len(counts)
