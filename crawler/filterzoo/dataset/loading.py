"""`filterzoo.load`: the filters of a query as one array; selects layers first, then reads only their row groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from math import prod
from typing import Any, Literal, Unpack, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filterzoo.dataset.batches import batches
from filterzoo.dataset.bounds import check_limit
from filterzoo.dataset.footers import read_footer
from filterzoo.dataset.paths import data_path
from filterzoo.dataset.published import READERS, PublishedFiles, Target, open_published
from filterzoo.dataset.query import LayerKeywords, LayerQuery
from filterzoo.dataset.untrusted import reading
from filterzoo.dataset.words import Names, words_of
from filterzoo.errors import FilterZooError
from filterzoo.layers.layer import Floats
from filterzoo.reporting.progress import watched

_SHARED = 256
_FEW = 1 << 20
"""Layers that several models share are repeated for each, up to this multiple of the distinct filters, or this many."""
POINTERS = ("filters_file", "filters_first_row", "filters_rows")
"""Columns of `layers` that locate a layer's filters."""


class Query(LayerKeywords, total=False):
    """The keywords of `load` that select filters and the revision of the data set."""

    limit: int | None
    columns: Sequence[str] | None


Kernels = list[str] | tuple[str, ...]


@overload
def load(
    target: Target, *, kernel: str = ..., return_layers: Literal[False] = ..., **query: Unpack[Query]
) -> Floats: ...
@overload
def load(
    target: Target, *, kernel: str = ..., return_layers: Literal[True], **query: Unpack[Query]
) -> tuple[Floats, pa.Table]: ...
@overload
def load(
    target: Target, *, kernel: Kernels, return_layers: Literal[False] = ..., **query: Unpack[Query]
) -> dict[str, Floats]: ...
@overload
def load(
    target: Target, *, kernel: Kernels, return_layers: Literal[True], **query: Unpack[Query]
) -> dict[str, tuple[Floats, pa.Table]]: ...
def load(
    target: Target,
    *,
    models: Names | None = None,
    source: Names | None = None,
    task: Names | None = None,
    licence: Names | None = None,
    layers: Names | None = None,
    name: Names | None = None,
    depth: tuple[float, float] | None = None,
    kind: Names | None = None,
    kernel: str | Kernels = "3x3",
    where: pc.Expression | None = None,
    unique: bool = False,
    limit: int | None = None,
    revision: str | None = None,
    columns: Sequence[str] | None = None,
    return_layers: bool = False,
    **bounds: float | None,
) -> Any:
    """The published filters of a query as one float32 array, (n, 3, 3) for `kernel="3x3"`.

    Layers are sorted by model id and position in the model, with the filters of each in order. A layer that several
    models share is returned once for each, unless `unique`. Long operations show a progress bar on a terminal.

    target: a folder, or `user/name` on the Hub. models: ids or globs. licence: classes (`permissive`), or SPDX
    expressions of `models` or globs of them. layers: ids, or globs of names. name: globs of names. depth: lowest and
    highest conv_depth_norm, both included. `min_<column>=`, `max_<column>=`: bounds of a column of `layers` that holds
    numbers (`max_sparsity=0.1`), included. where: any other condition on the columns of `layers`. limit: most filters.
    revision: tag, branch or commit on the Hub. return_layers: also give the picked rows of `layers` (`columns` of them,
    None: all); filters of row i start at the sum of n_filters before it.
    kernel: several as a list give a dictionary, kernel -> what that kernel alone would give.

    Raises StartError if there is no such data set; ValueError for a word, kernel or column that the data set lacks,
    with similar ones. A valid query without matching layers returns an empty array and warns.
    """
    query = LayerQuery(
        models=models,
        source=source,
        task=task,
        licence=licence,
        layers=layers,
        name=name,
        depth=depth,
        kind=kind,
        kernel=kernel,
        bounds=bounds,
        where=where,
        unique=unique,
        published=True,
    )
    query.check_filters()
    check_limit(limit)
    chosen = words_of("columns", columns)
    files = open_published(target, revision)
    found = {
        size: _load(files, replace(query, kernel=size), limit, chosen, return_layers=return_layers)
        for size in query.kernels
    }
    return found[kernel] if isinstance(kernel, str) else found


def _load(
    files: PublishedFiles, query: LayerQuery, limit: int | None, columns: list[str] | None, *, return_layers: bool
) -> Floats | tuple[Floats, pa.Table]:
    wanted = columns if return_layers else ()
    picked = query.rows(files, None if wanted is None else ("n_filters", *POINTERS, *wanted))
    with reading(files.root):
        counts = _limited(picked["n_filters"].to_pylist(), limit)
        picked = picked.slice(0, len(counts))
        footers = checked_footers(files, picked, counts)
    (kernel,) = query.kernels
    filters = np.empty((sum(counts), *map(int, kernel.split("x"))), np.float32)
    flat = filters.reshape(len(filters), prod(filters.shape[1:]))
    with reading(files.root):
        watched(copy_filters(flat, files, picked, counts, footers), len(filters), "reading filters")
    if not return_layers:
        return filters
    return filters, picked if columns is None else picked.select(columns)


Footers = dict[str, pq.FileMetaData]
"""Path -> footer, for the files that hold the selected layers."""


def checked_footers(files: PublishedFiles, picked: pa.Table, counts: Sequence[int]) -> Footers:
    """The footers; FilterZooError if the layers state more filters than the files could hold.

    Called before memory is allocated; see `copy_filters` for the arguments.
    """
    footers: Footers = {}
    stored: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for layer_id, path, count in zip(
        picked["layer_id"].to_pylist(), picked["filters_file"].to_pylist(), counts, strict=True
    ):
        stored[path][layer_id] = max(count, stored[path].get(layer_id, count))
    for path, layers in sorted(stored.items()):
        footer = footers[path] = _footer(files, path)
        groups = (footer.row_group(number) for number in range(footer.num_row_groups))
        numbers = sum(group.column(n).num_values for group in groups for n in range(group.num_columns))
        if min(layers.values()) < 0 or sum(layers.values()) > numbers:
            raise FilterZooError(f"{files.root}: {path} holds fewer filters than layers says; run filterzoo verify")
    unique = sum(sum(layers.values()) for layers in stored.values())
    if sum(counts) > _SHARED * unique + _FEW:
        raise FilterZooError(
            f"{files.root}: {sum(counts):,} filters, and only {unique:,} different ones; pass unique=True or limit="
        )
    return footers


def _footer(files: PublishedFiles, path: str) -> pq.FileMetaData:
    """The footer of a file of `filters`; FilterZooError for any other path, and for too costly files."""
    place = data_path(path)
    if place is None or place.config != "filters":
        raise FilterZooError(f"{files.root}: layers points to {ascii(path)[:160]}, no file of filters; verify it")
    with files.native(path) as file:
        return read_footer(file, f"{files.root}: {path}")


def _limited(counts: list[int], limit: int | None) -> list[int]:
    """The number of filters to take from each layer, `limit` in total; layers after the limit are dropped."""
    if limit is None:
        return counts
    before = accumulate(counts, initial=0)
    return [min(count, limit - start) for count, start in zip(counts, before, strict=False) if start < limit]


@dataclass(frozen=True, slots=True)
class _Place:
    """The destination of a stored layer's filters: its first `count` filters go to rows `start` and following."""

    start: int
    count: int


@dataclass(frozen=True, slots=True)
class _Stored:
    """A layer's position in `filters`: `rows` rows of a file, from row `first`."""

    layer_id: str
    first: int
    rows: int


_Wanted = dict[_Stored, list[_Place]]


@dataclass(frozen=True, slots=True)
class _RowGroup:
    """A row group with wanted filters; `low` is the number of its first row in the file."""

    path: str
    footer: pq.FileMetaData
    number: int
    low: int
    wanted: _Wanted


def copy_filters(
    out: Floats, files: PublishedFiles, picked: pa.Table, counts: Sequence[int], footers: Footers
) -> Iterator[int]:
    """Fill `out`, (sum of counts, numbers of a filter), with the first filters of each picked layer, in order.

    picked: rows of `layers`, with `layer_id` and `POINTERS`. footers: see `checked_footers`. Every needed row group is
    read once; yields the number of filters copied in each step. FilterZooError if a file does not hold what `layers`
    states.
    """
    wanted: defaultdict[str, _Wanted] = defaultdict(lambda: defaultdict(list))
    columns = (picked[name].to_pylist() for name in ("layer_id", *POINTERS))
    starts = accumulate(counts, initial=0)
    for layer_id, path, first, rows, start, count in zip(*columns, starts, counts, strict=False):
        wanted[path][_Stored(layer_id, first, rows)].append(_Place(start, count))
    there = 0
    with ThreadPoolExecutor(READERS) as readers:
        for copied in readers.map(lambda group: _copy_row_group(out, files, group), _row_groups(wanted, footers)):
            there += copied
            yield copied
    if there != len(out):
        raise FilterZooError(f"{files.root}: {there} of {len(out)} listed filters are there; run filterzoo verify")


def _row_groups(wanted: dict[str, _Wanted], footers: Footers) -> Iterator[_RowGroup]:
    for path, stored in sorted(wanted.items()):
        footer = footers[path]
        sizes = (footer.row_group(number).num_rows for number in range(footer.num_row_groups))
        for number, (low, high) in enumerate(pairwise(accumulate(sizes, initial=0))):
            in_group = {s: places for s, places in stored.items() if s.first < high and low < s.first + s.rows}
            if in_group:
                yield _RowGroup(path, footer, number, low, in_group)


def _copy_row_group(out: Floats, files: PublishedFiles, group: _RowGroup) -> int:
    """Copy the wanted filters of a row group, batch by batch; returns their number."""
    copied, low = 0, group.low
    last = max(stored.first + stored.rows for stored in group.wanted)
    columns = ["layer_id", "first_filter", "weights"]
    with closing(batches(files, group.path, group.footer, group.number, columns)) as rows:
        for batch in rows:
            for stored, places in group.wanted.items():
                begin, end = max(stored.first - low, 0), min(stored.first + stored.rows - low, len(batch))
                if begin < end:
                    copied += _copy(out, batch[begin:end], stored.layer_id, places)
            low += len(batch)
            if low >= last:
                break
    return copied


def _copy(out: Floats, rows: pa.RecordBatch, layer_id: str, places: list[_Place]) -> int:
    """Copy consecutive rows of one layer to their destinations; returns the number of filters."""
    ids = rows["layer_id"]
    if {ids[0].as_py(), ids[-1].as_py()} != {layer_id}:
        raise FilterZooError(f"layers says that {layer_id} is where {ids[0].as_py()} is; run filterzoo verify")
    filters = rows["weights"].flatten().to_numpy().reshape(-1, out.shape[1])
    offset, copied = rows["first_filter"][0].as_py(), 0
    for place in places:
        count = max(0, min(len(filters), place.count - offset))
        out[place.start + offset : place.start + offset + count] = filters[:count]
        copied += count
    return copied
