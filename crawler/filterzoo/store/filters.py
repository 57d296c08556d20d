"""Filters as rows of the published table, and their row groups.

A worker writes them once, in published form: the file of a large checkpoint is released unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filterzoo.dataset.footers import END, footer_bytes
from filterzoo.dataset.pages import check_pages
from filterzoo.errors import FilterZooError
from filterzoo.layers.layer import Floats, Layer
from filterzoo.outcome import Done
from filterzoo.records import Checkpoint
from filterzoo.store.encoding import EncodedFile

BLOCK = 32_768
"""Most filters of one row of the filters table."""
ROW_GROUP_NUMBERS = 9 << 19
"""Most weights in a row group: half a million 3x3 filters, about 16 MB. Larger ones are slower to stream, because
allocations over 32 MB are returned to the system each time. Smaller ones save no requests, because Arrow merges reads
up to 32 MB.
"""
ALONE_NUMBERS = 9 << 18
"""A checkpoint with at least this many weights (8 MB published) has its own file."""

WEIGHTS = pa.list_(pa.field("element", pa.float32(), nullable=False))
"""Non-nullable numbers: without definition levels, files decode in three quarters of the time."""
PUBLISHED_SCHEMA = pa.schema(
    [
        ("layer_id", pa.string()),
        ("model_id", pa.string()),
        ("source", pa.string()),
        ("licence_class", pa.string()),
        ("kernel", pa.string()),
        ("task", pa.string()),
        ("visual_category", pa.string()),
        ("conv_depth_norm", pa.float64()),
        ("first_filter", pa.int64()),
        ("n_filters", pa.int32()),
        ("weights", WEIGHTS),
    ]
)
"""Columns of `filters`; `filterzoo_publish.schema` says what each one means. `weights` holds n_filters * k numbers,
filter after filter, each row-major."""


class Axes(NamedTuple):
    """Columns of `filters` that are the same for a whole checkpoint."""

    model_id: str
    source: str
    licence_class: str
    task: str | None
    visual_category: str | None


FILTER_SCHEMA = pa.schema([field for field in PUBLISHED_SCHEMA if field.name not in {*Axes._fields, "conv_depth_norm"}])
"""Columns of `filters` that depend on the layer only."""


def axes_of(checkpoint: Checkpoint, licence_class: str) -> Axes:
    """The axes of a checkpoint's filters."""
    named = (checkpoint.source, checkpoint.id, checkpoint.revision)
    model_id = "{}/{}@{}".format(*map(encodable, named))
    return Axes(
        model_id,
        encodable(checkpoint.source),
        licence_class,
        _known(checkpoint.task),
        _known(checkpoint.visual_category),
    )


def axes_of_done(done: Done) -> Axes:
    """The axes of a recorded checkpoint's filters."""
    return axes_of(done.checkpoint, done.licence_class)


def encodable(text: str) -> str:
    """The text in a form that UTF-8 can encode: a lone surrogate becomes a backslash, `u` and four digits."""
    return text.encode("utf-8", "backslashreplace").decode()


def _known(text: str | None) -> str | None:
    return None if text is None else encodable(text)


class Piece(NamedTuple):
    """Rows of one layer in one row group, with PUBLISHED_SCHEMA, and their number of weights."""

    layer_id: str
    rows: pa.Table
    numbers: int


def pieces_of(layer: Layer, axes: Axes) -> Iterator[Piece]:
    """The rows of a layer, without copying weights."""
    size = prod(layer.weights.shape[2:])
    numbers = layer.weights.reshape(-1)
    values = axes._asdict()
    values |= {"layer_id": layer.layer_id, "kernel": layer.kernel, "conv_depth_norm": layer.conv_depth_norm}
    step = filters_of_piece(layer.n_filters, size)
    for first in range(0, layer.n_filters, step):
        last = min(first + step, layer.n_filters)
        firsts = range(first, last, BLOCK)
        counts = [min(BLOCK, last - start) for start in firsts]
        own = numbers[first * size : last * size]
        if first and last == layer.n_filters:
            own = own.copy()  # while the row group waits for more layers, it must not keep the rest of this one alive
        columns = {
            "first_filter": pa.array(list(firsts), pa.int64()),
            "n_filters": pa.array(counts, pa.int32()),
            "weights": _blocks(own, counts, size),
        }
        arrays = [
            columns[field.name]
            if field.name in columns
            else pa.repeat(pa.scalar(values[field.name], field.type), len(counts))
            for field in PUBLISHED_SCHEMA
        ]
        yield Piece(layer.layer_id, pa.Table.from_arrays(arrays, schema=PUBLISHED_SCHEMA), own.size)


def filters_of_piece(count: int, size: int) -> int:
    """The number of a layer's `count` filters, of `size` weights each, in one row group."""
    if count * size <= ROW_GROUP_NUMBERS:
        return max(1, count)
    return BLOCK * max(1, ROW_GROUP_NUMBERS // (BLOCK * size))


def _blocks(numbers: Floats, counts: list[int], size: int) -> pa.Array:
    offsets = np.cumsum([0, *counts], dtype=np.int64) * size
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(numbers), type=WEIGHTS)


class RowGroups:
    """Fills row groups of a file with pieces; `places` has the position of each layer."""

    def __init__(self, file: EncodedFile) -> None:
        self.places: dict[str, FilterPosition] = {}
        self._file = file
        self._waiting: list[pa.Table] = []
        self._numbers = self._rows = 0

    def add(self, piece: Piece) -> None:
        """Append a piece, in a new row group if the current one would become too large."""
        if self._waiting and self._numbers + piece.numbers > ROW_GROUP_NUMBERS:
            self.end()
        file = self._file
        place = self.places.get(piece.layer_id, FilterPosition(file.row_groups, file.rows + self._rows, 0))
        self.places[piece.layer_id] = place._replace(rows=place.rows + len(piece.rows))
        self._waiting.append(piece.rows)
        self._numbers += piece.numbers
        self._rows += len(piece.rows)

    def end(self) -> None:
        """Write the row group that is being filled."""
        if self._waiting:
            self._file.write(pa.concat_tables(self._waiting))
        self._waiting = []
        self._numbers = self._rows = 0


class FilterPosition(NamedTuple):
    """The position of a layer's filters in a file: the row group of the first one, first row, and number of rows."""

    row_group: int
    first_row: int
    rows: int


class FilterFile:
    """A file of PUBLISHED_SCHEMA that this program wrote, open for reading. Use as a context manager.

    ValueError for other files: a local file may come from someone else's work folder.
    """

    def __init__(self, source: pa.NativeFile) -> None:
        if isinstance(source, pa.MemoryMappedFile):
            _check(source)
        self._parquet = pq.ParquetFile(source, pre_buffer=False)
        if not self._parquet.schema_arrow.equals(PUBLISHED_SCHEMA):
            raise ValueError("its columns are not those of this version")

    def facts(self, columns: list[str]) -> pa.Table:
        """All rows of some columns; cheap except for `weights`."""
        return self._parquet.read(columns, use_threads=False)

    def places(self) -> dict[str, FilterPosition]:
        """The position of each layer."""
        places: dict[str, FilterPosition] = {}
        first = 0
        for number in range(self._parquet.num_row_groups):
            for layer_id in self._ids(number):
                place = places.get(layer_id, FilterPosition(number, first, 0))
                places[layer_id] = place._replace(rows=place.rows + 1)
                first += 1
        return places

    def layers(self, wanted: frozenset[str] | None = None) -> Iterator[pa.Table]:
        """The filters of each layer, or of those wanted, FILTER_SCHEMA; one chunk per row group."""
        waiting: list[pa.Table] = []
        for number in range(self._parquet.num_row_groups):
            ids = self._ids(number)
            if wanted is not None and wanted.isdisjoint(ids):
                continue
            group = self._parquet.read_row_group(number, FILTER_SCHEMA.names, use_threads=False)
            for layer_id, start, length in _runs(ids):
                if wanted is None or layer_id in wanted:
                    if waiting and waiting[0]["layer_id"][0].as_py() != layer_id:
                        yield pa.concat_tables(waiting)
                        waiting = []
                    waiting.append(group.slice(start, length))
            del group
        if waiting:
            yield pa.concat_tables(waiting)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._parquet.close(force=True)

    def _ids(self, row_group: int) -> list[str]:
        ids: list[str] = self._parquet.read_row_group(row_group, ["layer_id"], use_threads=False)[
            "layer_id"
        ].to_pylist()
        return ids


def _check(source: pa.MemoryMappedFile) -> None:
    """ValueError if the page headers of a file contradict its footer; nothing is copied."""
    content = source.read_buffer()
    source.seek(0)
    try:
        footer_bytes(bytes(content[-END:]), "a fragment")
        footer = pq.read_metadata(pa.BufferReader(content))
        for number in range(footer.num_row_groups):
            check_pages(memoryview(content).cast("B"), footer.row_group(number), None, "a fragment")
    except FilterZooError as error:
        raise ValueError(str(error)) from error


def _runs(ids: list[str]) -> Iterator[tuple[str, int, int]]:
    """(id, first row, rows) of each run of equal ids."""
    start = 0
    for number in range(1, len(ids) + 1):
        if number == len(ids) or ids[number] != ids[start]:
            yield ids[start], start, number - start
            start = number


def have_axes(file: FilterFile, axes: Axes) -> bool:
    """Whether all rows of a file have these axes."""
    table = file.facts(list(Axes._fields))
    return all(table[name].unique().to_pylist() == [value] for name, value in axes._asdict().items())


def open_filters(path: Path) -> FilterFile:
    """A local file of filters."""
    return FilterFile(pa.memory_map(str(path)))
