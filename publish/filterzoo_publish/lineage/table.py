"""`lineage`: copies, shared layers, stated descent, and descent inferred from weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo import temporary
from filterzoo.temporary import failing_by_name
from filterzoo_publish.lineage.inferred import rows_of_families
from filterzoo_publish.lineage.shared import SharedLayers
from filterzoo_publish.lineage.stored import StoredLayers
from filterzoo_publish.plan.rows import table_of
from filterzoo_publish.schema import arrow_schema

CONFIG = "lineage"
MODEL_COLUMNS = ["model_id", "id", "base_model", "duplicate_of"]
"""Columns of `models` that the table depends on."""
LAYER_COLUMNS = ["model_id", "layer_index", "layer_id", "shape", "l2_norm", "n_finite", "raw_mean", "kurtosis", "probe"]
"""Columns of `layers` that the table depends on."""
_CACHE_KB = 16_000
_TABLE = "CREATE TABLE rows (model_id, other, kind, score, weights_distance, moments_distance, direction)"
Row = dict[str, Any]


class Relation(StrEnum):
    """How a network is related to another. The first three are facts, the last is inferred."""

    COPY = "copy"
    STATED = "stated"
    SHARED = "shared_layers"
    INFERRED = "inferred"


def lineage_table(models: pa.Table, layers: Iterable[pa.Table]) -> pa.Table:
    """A row for each two related networks, sorted by `row_key`.

    models: MODEL_COLUMNS. layers: LAYER_COLUMNS of these models, in tables of any size, which are read once and kept in
    temporary files. Rows may be in any order: the result is the same.
    """
    originals = _originals(models)
    stored, shared = StoredLayers(), SharedLayers(originals.to_pylist())
    for table in layers:
        own = table.select(LAYER_COLUMNS).filter(pc.is_in(table["model_id"], originals))
        stored.add(own)
        shared.add(own)
    rows = chain(
        _copies(models),
        _stated(models),
        (_row(first, second, Relation.SHARED, share) for first, second, share in shared.pairs()),
        (row | {"kind": Relation.INFERRED.value} for row in rows_of_families(stored.families())),
    )
    return _in_order(rows)


def _in_order(rows: Iterable[Row]) -> pa.Table:
    """The rows as a table, sorted by `row_key`; few of them are Python objects at a time."""
    schema = arrow_schema(CONFIG)
    with failing_by_name(), contextlib.closing(temporary.table(_TABLE, _CACHE_KB)) as database:
        database.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)", ([row.get(name) for name in schema.names] for row in rows)
        )
        found = database.execute("SELECT * FROM rows ORDER BY model_id, kind, other")
        return table_of((dict(zip(schema.names, row, strict=True)) for row in found), schema)


def row_key(row: Row) -> tuple[str, str, str]:
    """The key that identifies and sorts rows."""
    return row["model_id"], row["kind"], row["other"]


def _originals(models: pa.Table) -> pa.Array:
    return models.filter(pc.is_null(models["duplicate_of"]))["model_id"].combine_chunks()


def _row(model: str, other: str, kind: Relation, score: float | None) -> Row:
    return {"model_id": model, "other": other, "kind": kind.value, "score": score}


def _copies(models: pa.Table) -> Iterator[Row]:
    for model, other in zip(models["model_id"].to_pylist(), models["duplicate_of"].to_pylist(), strict=True):
        if other is not None:
            yield _row(model, other, Relation.COPY, 1.0)


def _stated(models: pa.Table) -> Iterator[Row]:
    """Descent stated in `base_model`, which has names of the zoo. Networks that the data set lacks keep that name."""
    ids, names = models["id"].to_pylist(), models["model_id"].to_pylist()
    known = dict(sorted(zip(ids, names, strict=True)))
    for model, own, stated in zip(names, ids, models["base_model"].to_pylist(), strict=True):
        for name in sorted({part.strip() for part in (stated or "").split(",")} - {"", own}):
            yield _row(model, known.get(name, name), Relation.STATED, None)
