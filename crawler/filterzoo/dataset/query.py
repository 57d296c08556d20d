"""Which layers of a published data set are meant: the conditions that `load` and `stats` share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from filterzoo.dataset.footers import check_footer
from filterzoo.dataset.parquet import TextBudget
from filterzoo.dataset.published import READERS, PublishedFiles
from filterzoo.dataset.sparse_copy import SparseCopy
from filterzoo.dataset.untrusted import reading, said
from filterzoo.errors import FilterZooError
from filterzoo.reporting.progress import watched

Names = str | Sequence[str]

_NEEDED = ("model_id", "layer_index", "name", "layer_id")


class LayerKeywords(TypedDict, total=False):
    """The keywords of `load` and `stats` that say which layers, and of what state of the data set."""

    models: Names | None
    source: Names | None
    task: Names | None
    layers: Names | None
    depth: tuple[float, float] | None
    kind: Names | None
    where: pc.Expression | None
    unique: bool
    revision: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerQuery:
    """A choice of rows of `layers`; a condition that is None holds for every row.

    models: ids or globs. layers: ids, or globs of names. depth: lowest and highest conv_depth_norm, both included.
    where: any other condition on the columns of `layers`. unique: of equal layers only the first.
    """

    models: Names | None = None
    source: Names | None = None
    task: Names | None = None
    layers: Names | None = None
    depth: tuple[float, float] | None = None
    kind: Names | None = None
    kernel: str = "3x3"
    where: pc.Expression | None = None
    unique: bool = False

    def rows(self, files: PublishedFiles, columns: Sequence[str] | None) -> pa.Table:
        """The chosen rows by model id and place in the model, with (at least) the columns; None: all of them."""
        names = None if columns is None else list(dict.fromkeys((*_NEEDED, *columns)))
        table = read_layers(files, names, self._condition())
        table = _matching(_matching(table, self.models, "model_id"), self.layers, "name", "layer_id")
        table = table.sort_by([("model_id", "ascending"), ("layer_index", "ascending")])
        return table.take(_first_places(table["layer_id"])) if self.unique else table

    def _condition(self) -> pc.Expression:
        condition = pc.field("kernel") == self.kernel
        for column, names in (("source", self.source), ("task", self.task), ("kind", self.kind)):
            if names is not None:
                condition &= pc.field(column).isin([names] if isinstance(names, str) else list(names))
        if self.depth is not None:
            lowest, highest = self.depth
            condition &= (pc.field("conv_depth_norm") >= lowest) & (pc.field("conv_depth_norm") <= highest)
        return condition if self.where is None else condition & self.where


def read_layers(files: PublishedFiles, columns: Sequence[str] | None, condition: pc.Expression) -> pa.Table:
    """Rows of the config `layers`; a column that older files lack is null there. FilterZooError where there is none.

    What takes long shows a progress bar on a terminal.
    """
    paths = files.paths("layers")
    if not paths:
        raise FilterZooError(f"{files.root}: holds no data/layers: not a published data set")
    fragments: list[pds.ParquetFileFragment]
    with ThreadPoolExecutor(READERS) as readers:
        if files.is_local:
            fragments = [_mapped(files, path) for path in paths]
            schema = _schema_of(fragments)
            needed = _needed(columns, condition, schema)
            fetched: Iterable[pds.ParquetFileFragment] = fragments
        else:
            copies = list(readers.map(lambda path: SparseCopy(files, path), paths))
            fragments = [copy.fragment for copy in copies]
            schema = _schema_of(fragments)
            needed = _needed(columns, condition, schema)
            fetched = readers.map(lambda copy: copy.fetch(needed, condition, schema), copies)
        parts: list[pa.Table] = []
        amounts = _read(fetched, parts, needed, schema=schema, columns=columns, filter=condition)
        watched(amounts, sum(fragment.metadata.num_rows for fragment in fragments), "reading layers")
    nothing = schema.empty_table() if columns is None else schema.empty_table().select(list(columns))
    return pa.concat_tables([nothing, *parts])


def _mapped(files: PublishedFiles, path: str) -> pds.ParquetFileFragment:
    """A file mapped into memory. The map stays when the file is closed, so thousands of files need no open one each."""
    with reading(f"{files.root}: {path}"), files.native(path) as file:
        content = file.read_buffer()
    fragment = pds.ParquetFileFormat().make_fragment(content)
    check_footer(fragment.metadata, content.size, f"{files.root}: {path}")
    return fragment


def _read(
    fragments: Iterable[pds.ParquetFileFragment], parts: list[pa.Table], needed: set[str], **scan: Any
) -> Iterator[int]:
    """Add what the scan finds to `parts`, row group by row group; gives of how many rows that was, found or not.

    needed: the columns that the scan reads.
    """
    for fragment in fragments:
        rest = fragment.metadata.num_rows
        texts = TextBudget(fragment.buffer, fragment.metadata, needed, "data/layers")
        for part in fragment.split_by_row_group(scan["filter"], schema=scan["schema"]):
            try:
                for group in part.row_groups:
                    texts.check(group.id)
                parts.append(part.to_table(**scan))
            except OSError as error:  # an error in the condition is no OSError
                raise FilterZooError(f"data/layers: is damaged ({said(error)}); run filterzoo verify") from error
            seen = sum(group.num_rows for group in part.row_groups)
            rest -= seen
            yield seen
        yield rest


def _schema_of(fragments: Iterable[pds.ParquetFileFragment]) -> pa.Schema:
    return pa.unify_schemas([fragment.physical_schema for fragment in fragments])


def _needed(columns: Sequence[str] | None, condition: pc.Expression, schema: pa.Schema) -> set[str]:
    """The columns that a scan reads: those that it gives (None: all), and those of its condition."""
    return {*(schema.names if columns is None else columns), *_columns_of(condition, schema)}


def _columns_of(condition: pc.Expression, schema: pa.Schema) -> Iterator[str]:
    """The columns without which the condition means nothing."""
    nothing = schema.empty_table()
    for name in schema.names:
        try:
            nothing.drop_columns([name]).filter(condition)
        except pa.ArrowInvalid:
            yield name


def _matching(table: pa.Table, patterns: Names | None, *columns: str) -> pa.Table:
    """Rows where one of the columns is, or matches as a glob, one of the patterns."""
    if patterns is None:
        return table
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    masks = []
    for column in columns:
        values = pc.unique(table[column]).to_pylist()
        kept = [value for value in values if any(value == p or fnmatchcase(value, p) for p in wanted)]
        masks.append(pc.is_in(table[column], pa.array(kept, pa.string())))
    mask = masks[0] if len(masks) == 1 else pc.or_(*masks)
    return table.filter(mask)


def _first_places(ids: pa.ChunkedArray) -> pa.Array:
    """The row where each id stands first, in order."""
    table = pa.table({"id": ids, "row": np.arange(len(ids))})
    return table.group_by("id").aggregate([("row", "min")])["row_min"].combine_chunks().sort()
