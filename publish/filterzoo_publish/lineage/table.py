"""`lineage`: copies, shared layers, stated descent, and descent inferred from weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from itertools import combinations
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo_publish.lineage.inferred import inferred_rows

CONFIG = "lineage"
MODEL_COLUMNS = ["model_id", "id", "base_model", "duplicate_of"]
"""Columns of `models` that the table depends on."""
LAYER_COLUMNS = ["model_id", "layer_index", "layer_id", "shape", "l2_norm", "n_finite", "raw_mean", "kurtosis", "probe"]
"""Columns of `layers` that the table depends on."""
SCHEMA = pa.schema(
    [
        ("model_id", pa.string()),
        ("other", pa.string()),
        ("kind", pa.string()),
        ("score", pa.float64()),
        ("weights_distance", pa.float64()),
        ("moments_distance", pa.float64()),
        ("direction", pa.float64()),
    ]
)
_MOST_HOLDERS = 50
"""A layer in more networks than this, such as a fixed filter, is no evidence of descent."""
Row = dict[str, Any]


class Relation(StrEnum):
    """How a network is related to another. The first three are facts, the last is inferred."""

    COPY = "copy"
    STATED = "stated"
    SHARED = "shared_layers"
    INFERRED = "inferred"


def lineage_table(models: pa.Table, layers: pa.Table) -> pa.Table:
    """A row for each two related networks, sorted by `row_key`.

    models: MODEL_COLUMNS. layers: LAYER_COLUMNS of these models. Rows may be in any order: the result is the same.
    """
    layers = layers.select(LAYER_COLUMNS).sort_by([("model_id", "ascending"), ("layer_index", "ascending")])
    own = layers.filter(pc.is_in(layers["model_id"], _originals(models)))
    rows = [*_copies(models), *_stated(models), *_shared(own)]
    rows += [row | {"kind": Relation.INFERRED.value} for row in inferred_rows(own)]
    return pa.Table.from_pylist(sorted(rows, key=row_key), schema=SCHEMA)


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


def _shared(layers: pa.Table) -> Iterator[Row]:
    """Pairs of networks with common layers; score: their share of the distinct layers of the first network."""
    table = layers.filter(pc.greater(layers["l2_norm"], 0))
    holders: defaultdict[str, set[str]] = defaultdict(set)
    own: defaultdict[str, set[str]] = defaultdict(set)
    for model, layer in zip(table["model_id"].to_pylist(), table["layer_id"].to_pylist(), strict=True):
        holders[layer].add(model)
        own[model].add(layer)
    common: defaultdict[tuple[str, str], int] = defaultdict(int)
    for models in holders.values():
        if 1 < len(models) <= _MOST_HOLDERS:
            for pair in combinations(sorted(models), 2):
                common[pair] += 1
    for (first, second), count in common.items():
        yield _row(first, second, Relation.SHARED, count / len(own[first]))
