"""Writes the export: filters batch by batch, then the table. A complete file is renamed to its final name."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from filterzoo.dataset.loading import Footers, checked_footers, copy_filters
from filterzoo.dataset.published import PublishedFiles, first_line
from filterzoo.dataset.untrusted import WRONG_CONTENT
from filterzoo.durable import whole_file
from filterzoo.errors import FilterZooError, StartError, raise_disk_trouble, remedy, system_says
from filterzoo.reporting.progress import watched
from filterzoo_publish.cnn_filter_db.frame import write_frame
from filterzoo_publish.cnn_filter_db.steady_file import SteadyFile
from filterzoo_publish.cnn_filter_db.table import ExportTable

BATCH = 1 << 20
"""Filters that are read and written at a time; a larger layer is written as a whole."""


def write(files: PublishedFiles, planned: ExportTable, out: Path) -> None:
    """Write `/filters`, (n, 3, 3) float64, and `/meta`, and a CSV file with the table of pairs if there are pairs.

    StartError if one of the files exists or cannot be created; StorageFailed if the disk is full or fails. An identical
    table of pairs is kept: an export that was killed between the two files leaves it. Memory: a batch in float32 and in
    float64, and the table.
    """
    if os.path.lexists(out):
        raise StartError(f"{out}: is there already; name a new file")
    pairs = pairs_file(out)
    table = _pairs(planned).encode()
    has_pairs = os.path.lexists(pairs)
    if planned.pairs and has_pairs and (pairs.is_symlink() or not pairs.is_file() or pairs.read_bytes() != table):
        raise StartError(f"{pairs}: is there already; name a new file")
    with _reading(files):
        footers = checked_footers(files, planned.layers, planned.counts)
    with _output_errors(out), whole_file(out) as part:
        with SteadyFile(part) as steady, h5py.File(steady, "w") as file:
            filters = file.create_dataset("filters", (sum(planned.counts), 3, 3), np.float64)
            copied = _checked(_copied(files, planned, filters, footers), steady)
            watched(copied, len(filters), f"writing {out.name}")
            write_frame(file.create_group("meta"), planned.index, planned.columns)
        steady.check()
        if planned.pairs and not has_pairs:
            with whole_file(pairs) as draft:
                draft.write_bytes(table)
        if os.path.lexists(out):
            raise StartError(f"{out}: was made by somebody else meanwhile; name a new file")


def pairs_file(out: Path) -> Path:
    """The path of the table of pairs of OUT.h5: `OUT.robust_vs_normal_pairings.csv`."""
    return out.with_name(f"{out.stem}.robust_vs_normal_pairings.csv")


def _pairs(planned: ExportTable) -> str:
    """The table as `pandas.read_csv(path, index_col=0)` reads it."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["", *_PAIR])
    writer.writeheader()
    writer.writerows({"": number, **row} for number, row in enumerate(planned.pairs))
    return text.getvalue()


_PAIR = ("Robust", "Normal", "Arch", "Dataset")


@contextlib.contextmanager
def _output_errors(out: Path) -> Iterator[None]:
    """Converts errors of the output files to errors of one line."""
    try:
        yield
    except BlockingIOError as error:
        raise StartError(f"{out}: another export is writing it; wait for it, or name another file") from error
    except OSError as error:
        raise_disk_trouble(error, str(out.parent))
        raise StartError(f"{out}: cannot be written: {system_says(error)}; {remedy(error)}") from error


@contextlib.contextmanager
def _reading(files: PublishedFiles) -> Iterator[None]:
    """Converts errors to FilterZooError about the data set, not about the output file."""
    try:
        yield
    except (OSError, *WRONG_CONTENT) as error:
        raise FilterZooError(f"{files.root}: {first_line(error)}; run filterzoo verify") from error


def _copied(files: PublishedFiles, planned: ExportTable, filters: h5py.Dataset, footers: Footers) -> Iterator[int]:
    """Copy all filters; yields the number of filters of each batch."""
    done = 0
    for begin, end in _batches(planned.counts):
        counts = planned.counts[begin:end]
        batch = np.empty((sum(counts), 9), np.float32)
        with _reading(files):
            deque(copy_filters(batch, files, planned.layers.slice(begin, end - begin), counts, footers), maxlen=0)
        filters[done : done + len(batch)] = batch.reshape(-1, 3, 3)
        done += len(batch)
        yield len(batch)


def _checked(copied: Iterator[int], steady: SteadyFile) -> Iterator[int]:
    """Raise OSError after the first batch that could not be written."""
    for count in copied:
        steady.check()
        yield count


def _batches(counts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges [begin, end) of layers with at most `BATCH` filters, or one larger layer."""
    begin = size = 0
    for place, count in enumerate(counts):
        if size and size + count > BATCH:
            yield begin, place
            begin, size = place, 0
        size += count
    if size:
        yield begin, len(counts)
