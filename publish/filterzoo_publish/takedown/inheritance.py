"""New owners of shared layers, and new originals of duplicates, after a takedown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo_publish.merge.dataset_origin import DatasetOrigin, dataset_candidates
from filterzoo_publish.plan.entries import Planned, PlannedSpool
from filterzoo_publish.plan.plan import Plan
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.plan.rows import rows_of
from filterzoo_publish.plan.state import PublishedState
from filterzoo_publish.verify.problems import folder_names

Row = dict[str, Any]
_COLUMNS = ["model_id", "source", "id", "revision", "weights_id", "duplicate_of"]


@dataclass(frozen=True, slots=True)
class Inheritance:
    """Changes of the remaining models.

    owners: layer_id -> the new owner, for layers whose owner is removed. twins: model_id -> the new `duplicate_of`.
    """

    owners: Mapping[str, str]
    twins: Mapping[str, str | None]

    def plan(self, published: PublishedState) -> Plan:
        """A plan whose entries add the inherited layers, so that a release's code writes them."""
        layers: dict[str, set[str]] = {}
        for layer_id, name in self.owners.items():
            layers.setdefault(name, set()).add(layer_id)
        found = sorted(
            (new for new in dataset_candidates(published, DatasetOrigin(published)) if new.model_id in layers),
            key=lambda new: new.key,
        )
        planned = PlannedSpool(
            Planned(new, None, None, new.origin.stored(new.done), frozenset(layers[new.model_id])) for new in found
        )
        return Plan(planned.entries(), {}, published.skipped, Release(name="", day=""), {}, published.confidences)


def inherit(published: PublishedState, gone: Mapping[str, Row]) -> Inheritance:
    """The changes if the models `gone` (model_id -> row of `models`) are removed."""
    rows = rows_of(published.models.select(_COLUMNS))
    staying = [row for row in rows if row["model_id"] not in gone]
    staying.sort(key=_key)
    orphans = _owned(published, gone)
    places = {row["model_id"]: number for number, row in enumerate(staying)}
    first: dict[str, int] = {}
    wanted = pc.field("layer_id").isin(pa.array(orphans, pa.string())) & pc.field("filters_file").is_valid()
    if orphans:
        held = published.read("layers", ["model_id", "layer_id", "filters_file"], wanted)
        for name, layer_id in zip(held["model_id"].to_pylist(), held["layer_id"].to_pylist(), strict=True):
            if name in places:
                first[layer_id] = min(first.get(layer_id, places[name]), places[name])
    owners = {layer_id: staying[place]["model_id"] for layer_id, place in first.items()}
    return Inheritance(owners, _twins(staying, gone))


def holds(path: str, gone: Mapping[str, Row]) -> bool:
    """Whether a file is in the folders of one of the models, so that it may have rows of it."""
    return folder_names(path) in {(row["source"], row["licence_class"]) for row in gone.values()}


def _owned(published: PublishedState, gone: Mapping[str, Row]) -> list[str]:
    """The layers that the models own in `filters`."""
    owned: dict[str, None] = {}
    for path in published.paths("filters"):
        if holds(path, gone):
            table = published.read_file(path, ["model_id", "layer_id"])
            mine = pc.is_in(table["model_id"], pa.array(list(gone), pa.string()))
            owned |= dict.fromkeys(pc.unique(table["layer_id"].filter(mine)).to_pylist())
    return list(owned)


def _twins(staying: Iterable[Row], gone: Mapping[str, Row]) -> dict[str, str | None]:
    """The new `duplicate_of`: the first remaining duplicate becomes the original."""
    first: dict[str, str] = {}
    twins: dict[str, str | None] = {}
    for row in staying:
        if row["duplicate_of"] in gone:
            name = first.setdefault(row["weights_id"], row["model_id"])
            twins[row["model_id"]] = None if name == row["model_id"] else name
    return twins


def _key(row: Row) -> tuple[str, str, str]:
    return row["source"], row["id"], row["revision"]
