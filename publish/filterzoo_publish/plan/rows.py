"""Rows of `models` and `skipped`, from the journal, and helpers for tables of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from itertools import chain, islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.paths import CLASS_NAME, SOURCE_NAME
from filterzoo.errors import Reason, StartError
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Checkpoint
from filterzoo.store.filters import encodable
from filterzoo_publish.schema import arrow_schema

_FROM_CHECKPOINT = frozenset(field.name for field in fields(Checkpoint)) - {"artifacts", "licence", "licence_from"}
FACTS_OF_MODELS = tuple(name for name in arrow_schema("models").names if name in _FROM_CHECKPOINT - {"url"})
"""Columns of `models` that describe a network, as its zoo or the user states it."""
_FROM_DONE = frozenset(field.name for field in fields(Done))
SortKey = tuple[str, str, str]
BATCH = 4096
"""Rows of a table that are converted to Python objects at a time."""


def model_id(checkpoint: Checkpoint) -> str:
    """`source/id@revision`."""
    return "{}/{}@{}".format(*sort_key(checkpoint))


def sort_key(checkpoint: Checkpoint) -> SortKey:
    """The key that sorts models everywhere."""
    return clean(checkpoint.source), clean(checkpoint.id), clean(checkpoint.revision)


def folders(done: Done) -> tuple[str, str]:
    """(source, licence class): the folders of the checkpoint's files; StartError for an invalid folder name."""
    source, licence_class = done.checkpoint.source, done.licence_class
    if not SOURCE_NAME.fullmatch(source):
        raise StartError(f"source {ascii(source)[:80]}: its name must be made of a-z, 0-9 and _ to be published")
    if not CLASS_NAME.fullmatch(licence_class):
        raise StartError(f"{ascii(model_id(done.checkpoint))[:160]}: {ascii(licence_class)[:80]} is no licence class")
    return source, licence_class


def model_row(done: Done, derived: Mapping[str, Any]) -> dict[str, Any]:
    """A row of `models`; `derived` holds the columns that depend on the release."""
    checkpoint, artifact = done.checkpoint, done.checkpoint.artifacts[0]
    row: dict[str, Any] = {
        "model_id": model_id(checkpoint),
        "file": artifact.name,
        "member": artifact.member,
        "n_filters": sum(done.filters_by_kernel.values()),
        "filters_3x3": done.filters_by_kernel.get("3x3", 0),
    }
    for name in arrow_schema("models").names:
        if name in _FROM_CHECKPOINT:
            row[name] = getattr(checkpoint, name)
        elif name in _FROM_DONE:
            row[name] = getattr(done, name)
    return {name: clean(value) for name, value in (row | dict(derived)).items()}


def axes(done: Done) -> dict[str, Any]:
    """The columns that several configs share, for selecting checkpoints."""
    named = ("source", "architecture", "task", "training_dataset", "visual_category", "robust")
    shared = {name: clean(getattr(done.checkpoint, name)) for name in named}
    return shared | {"model_id": model_id(done.checkpoint), "licence_class": done.licence_class}


def skipped_table(
    ledger: Iterable[LedgerEntry],
    crawled: frozenset[str],
    former: Iterable[dict[str, Any]],
    blocked: Iterable[dict[str, Any]] = (),
) -> pa.Table:
    """The new `skipped`: the ledger, takedowns, and published rows of sources that were not crawled.

    blocked: rows of models that were taken down and listed again; older rows of takedowns stay.
    """
    rows = chain(
        ({name: clean(value) for name, value in asdict(entry).items()} for entry in ledger),
        (row for row in former if row["source"] not in crawled or row["reason"] == Reason.TAKEN_DOWN),
        blocked,
    )
    schema = arrow_schema("skipped")
    unique = table_of(rows, schema).group_by(schema.names, use_threads=False).aggregate([])
    keys, order = unique, []
    for name in schema.names:  # nulls first: versions of Arrow place them differently
        keys = keys.append_column(f"{name} known", pc.is_valid(unique[name]))
        order += [(f"{name} known", "ascending"), (name, "ascending")]
    places = pc.sort_indices(keys, sort_keys=order)
    return unique.take(places).select(schema.names).cast(schema).combine_chunks()


def table_of(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """The rows as a table of one chunk. Memory: BATCH rows as Python objects."""
    waiting = iter(rows)
    tables = [schema.empty_table()]
    while batch := list(islice(waiting, BATCH)):
        tables.append(pa.Table.from_pylist(batch, schema=schema))
    return pa.concat_tables(tables).combine_chunks()


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table. Memory: BATCH rows as Python objects."""
    for batch in table.to_batches(max_chunksize=BATCH):
        yield from batch.to_pylist()


def clean(value: Any) -> Any:
    """A string made `encodable`; any other value unchanged."""
    return encodable(value) if isinstance(value, str) else value


def skipped_key(row: dict[str, Any]) -> tuple[tuple[bool, str], ...]:
    """The key that sorts rows of `skipped`, nulls first."""
    return tuple((row[name] is not None, str(row[name] or "")) for name in arrow_schema("skipped").names)
