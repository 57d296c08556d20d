"""Tables of plan entries: rows of `models` and `layers`, and the axes that every config repeats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from filterzoo_publish.plan.entries import PlanEntry
from filterzoo_publish.plan.origins import PublishableCheckpoint
from filterzoo_publish.plan.places import Places
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.plan.rows import axes, model_row, table_of
from filterzoo_publish.plan.state import POINTER_COLUMNS
from filterzoo_publish.schema import arrow_schema


def models_table(entries: Iterable[PlanEntry], release: Release) -> pa.Table:
    """The entries' rows of `models`, as of the release."""
    return table_of(_model_rows(entries, release), arrow_schema("models"))


def _model_rows(entries: Iterable[PlanEntry], release: Release) -> Iterator[dict[str, Any]]:
    for entry in entries:
        derived = {
            "release": release.name,
            "first_seen": first_seen(entry.candidate, release.day),
            "last_seen": last_seen(entry.candidate, release.day),
            "published_filters": sum(layer.filters for layer in entry.published),
            "stored_filters": sum(layer.filters for layer in entry.stored),
            **entry.facts_of_layers(),
            "weights_id": entry.weights_id,
            "duplicate_of": entry.duplicate_of,
        }
        yield model_row(entry.done, derived)


def first_seen(candidate: PublishableCheckpoint, day: str) -> str:
    """The day of the release, or an earlier day on which another data set had it first."""
    return min(candidate.first_seen or day, day)


def last_seen(candidate: PublishableCheckpoint, day: str) -> str:
    """The last day its zoo listed it, no later than `day` and no earlier than `first_seen`."""
    return min(day, max(first_seen(candidate, day), candidate.seen or day))


def layers_table(entry: PlanEntry, pointers: Places) -> pa.Table:
    """The entry's rows of `layers`; `pointers` locates its published layers."""
    own = entry.layers().sort_by("layer_index")
    shown = {layer.layer_id for layer in entry.published}
    places = [pointers[layer_id] if layer_id in shown else None for layer_id in own["layer_id"].to_pylist()]
    columns = {name: own[name] for name in own.schema.names}
    for number, name in enumerate(POINTER_COLUMNS):
        columns[name] = pa.array([place and place[number] for place in places], arrow_schema("layers").field(name).type)
    return with_axes("layers", columns, entry)


def with_axes(config: str, columns: Mapping[str, pa.Array | pa.ChunkedArray], entry: PlanEntry) -> pa.Table:
    """A table of the config. Columns that are not in `columns` are the entry's axes, repeated."""
    schema = arrow_schema(config)
    shared = axes(entry.done)
    rows = len(next(iter(columns.values())))
    arrays = [
        columns[field.name] if field.name in columns else pa.repeat(pa.scalar(shared[field.name], field.type), rows)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, names=schema.names).cast(schema)


def first_depths(entry: PlanEntry) -> dict[str, float]:
    """layer_id -> conv_depth_norm of the layer's first occurrence in the checkpoint."""
    rows = entry.layers().sort_by([("layer_index", "descending")])
    return dict(zip(rows["layer_id"].to_pylist(), rows["conv_depth_norm"].to_pylist(), strict=True))
