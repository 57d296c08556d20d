"""Reads tables of a published data set under a condition: only the required columns and row groups."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds

from filterzoo.dataset.bounds import condition_of
from filterzoo.dataset.footers import END, check_footer, footer_bytes
from filterzoo.dataset.parquet import TextBudget
from filterzoo.dataset.published import READERS, PublishedFiles
from filterzoo.dataset.sparse_copy import SparseCopy
from filterzoo.dataset.untrusted import reading, short_message
from filterzoo.dataset.words import listed, near_matches
from filterzoo.errors import FilterZooError
from filterzoo.reporting.progress import watched

NEEDED = ("model_id", "layer_index", "name", "layer_id")
"""Columns of `layers` that identify a layer and its position."""
CHOOSING = ("kernel", "licence_class", "source", "task", "kind")
"""Columns of `layers` that a query's keywords filter by."""
OWN = frozenset({*NEEDED, *CHOOSING, "licence", "conv_depth_norm", "filters_file"})
"""Columns that are always read."""


def read_layers(
    files: PublishedFiles,
    columns: Sequence[str] | None,
    condition: pc.Expression | None,
    *,
    bounds: Mapping[str, float | None] | None = None,
    without: Collection[str] = (),
    config: str = "layers",
) -> pa.Table:
    """Rows of a config; columns: None for all but `without`.

    A column that older files lack is null there. FilterZooError if the config is missing. ValueError if the columns or
    the condition do not match its schema. Long operations show a progress bar on a terminal.
    """
    paths = files.paths(config)
    if not paths:
        raise FilterZooError(f"{files.root}: holds no data/{config}: not a published data set")
    fragments: list[pds.ParquetFileFragment]
    with ThreadPoolExecutor(READERS) as readers:
        if files.is_local:
            fragments = [_mapped(files, path) for path in paths]
            schema = _schema_of(files, fragments)
            columns = [n for n in schema.names if n not in without] if columns is None else list(columns)
            condition = _checked(files, columns, condition, bounds or {}, schema)
            needed = {*columns, *_columns_of(condition, schema)}
            fetched: Iterable[pds.ParquetFileFragment] = fragments
        else:
            with reading(files.root):
                copies = list(readers.map(lambda path: SparseCopy(files, path), paths))
            fragments = [copy.fragment for copy in copies]
            schema = _schema_of(files, fragments)
            columns = [n for n in schema.names if n not in without] if columns is None else list(columns)
            condition = _checked(files, columns, condition, bounds or {}, schema)
            needed = {*columns, *_columns_of(condition, schema)}

            def fetch(copy: SparseCopy) -> pds.ParquetFileFragment:
                with reading(files.root):
                    return copy.fetch(needed, condition, schema)

            fetched = readers.map(fetch, copies)
        parts: list[pa.Table] = []
        amounts = _read(fetched, parts, needed, schema=schema, columns=columns, filter=condition)
        watched(amounts, sum(fragment.metadata.num_rows for fragment in fragments), f"reading {config}")
    nothing = schema.empty_table().select(columns)
    return pa.concat_tables([nothing, *parts])


def _mapped(files: PublishedFiles, path: str) -> pds.ParquetFileFragment:
    """A file mapped into memory.

    The mapping outlives the descriptor, so thousands of files need no open descriptors.
    """
    with reading(f"{files.root}: {path}"), files.native(path) as file:
        content = file.read_buffer()
        footer_bytes(bytes(content[-END:]), f"{files.root}: {path}")
        fragment = pds.ParquetFileFormat().make_fragment(content)
        check_footer(fragment.metadata, content.size, f"{files.root}: {path}")
    return fragment


def _read(
    fragments: Iterable[pds.ParquetFileFragment], parts: list[pa.Table], needed: set[str], **scan: Any
) -> Iterator[int]:
    """Append the rows found to `parts`, row group by row group; yields the number of rows scanned.

    needed: the columns that the scan reads.
    """
    for fragment in fragments:
        rest = fragment.metadata.num_rows
        texts = TextBudget(fragment.buffer, fragment.metadata, needed, "a table")
        for part in fragment.split_by_row_group(scan["filter"], schema=scan["schema"]):
            try:
                for group in part.row_groups:
                    texts.check(group.id)
                parts.append(part.to_table(**scan))
            except OSError as error:  # errors in the condition are not OSErrors
                raise FilterZooError(f"a table is damaged ({short_message(error)}); run filterzoo verify") from error
            seen = sum(group.num_rows for group in part.row_groups)
            rest -= seen
            yield seen
        yield rest


def _schema_of(files: PublishedFiles, fragments: Iterable[pds.ParquetFileFragment]) -> pa.Schema:
    with reading(files.root):
        return pa.unify_schemas([fragment.physical_schema for fragment in fragments])


def _columns_of(condition: pc.Expression, schema: pa.Schema) -> Iterator[str]:
    """The columns that the condition refers to."""
    nothing = schema.empty_table()
    for name in schema.names:
        try:
            nothing.drop_columns([name]).filter(condition)
        except pa.ArrowInvalid:
            yield name


def _checked(
    files: PublishedFiles,
    columns: Sequence[str],
    condition: pc.Expression | None,
    bounds: Mapping[str, float | None],
    schema: pa.Schema,
) -> pc.Expression:
    """The whole condition; ValueError if it or `columns` refer to columns that the files lack."""
    for name in columns:
        if name not in schema.names:
            raise _no_column(files, "columns", name, schema)
    parts = [part for part in (condition, condition_of(bounds, schema)) if part is not None]
    whole = all_of(parts)
    if whole is None:
        return pc.scalar(value=True)
    try:
        schema.empty_table().filter(whole)
    except (pa.ArrowException, TypeError) as error:
        column = re.search(r"No match for FieldRef\.Name\((.*?)\) in", str(error))
        raise (
            _no_column(files, "where", column[1], schema) if column else ValueError(f"where: {short_message(error)}")
        ) from None
    return whole


def _no_column(files: PublishedFiles, keyword: str, name: object, schema: pa.Schema) -> Exception:
    if name in OWN:
        return FilterZooError(f"{files.root}: a table lacks the column {name}, which every release has; verify it")
    near = near_matches(str(name), schema.names)
    hint = f"did you mean {listed(near)}?" if near else "docs/columns.md lists them"
    return ValueError(f"{keyword}: there is no column {ascii(name)[:80]}; {hint}")


def all_of(conditions: Sequence[pc.Expression]) -> pc.Expression | None:
    """The conjunction of the conditions; None for none."""
    found = None
    for condition in conditions:
        found = condition if found is None else found & condition
    return found
