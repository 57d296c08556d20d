"""Checks `filters`: each published layer is complete, stored once where `layers` points to, and its hash is its id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from filterzoo.layers.normalise import layer_hasher
from filterzoo.store.filters import BLOCK
from filterzoo_publish.plan.state import Pointer
from filterzoo_publish.verify.layers import PublishedLayer, PublishedLayers
from filterzoo_publish.verify.models import Model, model_key
from filterzoo_publish.verify.problems import Examination
from filterzoo_publish.verify.sample import Sampled, differs
from filterzoo_publish.verify.statistics import difference

if TYPE_CHECKING:
    from hashlib import _Hash

_AXES = ("source", "licence_class", "task", "visual_category")


class Block(NamedTuple):
    """A row of `filters` and its position."""

    path: str
    row_group: int
    number: int
    row: dict[str, Any]
    weights: npt.NDArray[np.float32]


@dataclass(slots=True)
class _Open:
    """A layer whose blocks are being read."""

    layer_id: str
    stored: PublishedLayer
    pointer: Pointer
    hasher: _Hash
    filters: int = 0
    rows: int = 0
    blocks: list[npt.NDArray[np.float32]] = field(default_factory=list)
    """Its weights, if its measures are computed again."""


@dataclass(slots=True)
class _Filters:
    """The state of the check of filters."""

    examination: Examination
    models: Mapping[str, Model]
    layers: PublishedLayers
    sample: Mapping[str, Sampled]
    seen: set[str] = field(default_factory=set)
    owned: Counter[str] = field(default_factory=Counter)
    last: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    open: _Open | None = None

    def take(self, block: Block) -> None:
        """Check the next block."""
        layer_id = block.row["layer_id"]
        if self.open is None or self.open.layer_id != layer_id or self.open.pointer.file != block.path:
            self.close()
            self._start(block)
        self.owned[block.row["model_id"]] += block.row["n_filters"]
        if self.open is None:
            return
        self._check_block(block, self.open)
        self.open.hasher.update(block.weights.data.cast("B"))
        if self.open.layer_id in self.layers.measures.rows:
            self.open.blocks.append(block.weights)
        self.open.filters += block.row["n_filters"]
        self.open.rows += 1

    def close(self) -> None:
        """Check the layer whose last block was read."""
        layer, self.open = self.open, None
        if layer is None:
            return
        name = f"layer {layer.layer_id}"
        if layer.filters != layer.stored.n_filters:
            self.report("filters", f"{name} has {layer.filters} filters, layers says {layer.stored.n_filters}", layer)
        elif layer.hasher.hexdigest() != layer.layer_id:
            self.report("layer_id", f"{name} has other weights than its id says", layer)
        elif layer.blocks:
            wrong = difference(self.layers.measures.rows[layer.layer_id], np.concatenate(layer.blocks))
            if wrong:
                self.report("statistics", f"{name}: {wrong}", layer)
        if layer.pointer._replace(rows=layer.rows) != layer.stored.pointer:
            self.report("pointer", f"{name} is not where layers says", layer)

    def report(self, check: str, detail: str, layer: _Open) -> None:
        """Report a problem with a layer."""
        self.examination.report(check, layer.pointer.file, detail)

    def _start(self, block: Block) -> None:
        layer_id, owner = block.row["layer_id"], self.models.get(block.row["model_id"])
        stored = self.layers.stored.get(layer_id)
        if layer_id in self.seen:
            self.examination.report("unique", block.path, f"layer {layer_id} is stored twice")
        elif stored is None:
            self.examination.report("filters", block.path, f"layer {layer_id} is stored, and layers does not say so")
        else:
            pointer = Pointer(block.path, block.row_group, block.number, 0)
            self.open = _Open(layer_id, stored, pointer, layer_hasher(stored.shape))
        self.seen.add(layer_id)
        if owner is None or (owner["model_id"], layer_id) not in self.layers.depths:
            self.examination.report("model", block.path, f"layer {layer_id} belongs to a model without it")
            return
        if model_key(owner) < self.last.get(block.path, model_key(owner)):
            self.examination.report("order", block.path, f"filters of {owner['model_id']} stand after a later model's")
        self.last[block.path] = model_key(owner)

    def _check_block(self, block: Block, layer: _Open) -> None:
        row, kernel = block.row, layer.stored.shape[2:]
        name = f"layer {layer.layer_id}, filter {row['first_filter']}"
        if row["first_filter"] != layer.filters or not 0 < row["n_filters"] <= BLOCK:
            self.report("filters", f"{name}: a block does not begin where the one before ends", layer)
        elif len(block.weights) != row["n_filters"] * int(np.prod(kernel)):
            self.report("filters", f"{name}: not as many weights as its filters have", layer)
        elif kernel == (3, 3) and differs(self.sample, layer.layer_id, layer.filters, block.weights.reshape(-1, 9)):
            self.report("sample", f"{name}: filters_sample shows other weights", layer)
        owner = self.models.get(row["model_id"])
        depth = self.layers.depths.get((row["model_id"], layer.layer_id))
        if owner and (any(row[axis] != owner[axis] for axis in _AXES) or row["conv_depth_norm"] != depth):
            self.report("value", f"{name}: is not described as its model and layer are", layer)


def check_filters(
    examination: Examination, models: Mapping[str, Model], layers: PublishedLayers, sample: Mapping[str, Sampled]
) -> None:
    """Check every block, then report missing layers."""
    filters = _Filters(examination, models, layers, sample)
    for block in _blocks(examination):
        filters.take(block)
    filters.close()
    missing = Counter(layers.stored[layer_id].pointer.file for layer_id in layers.stored.keys() - filters.seen)
    for path, count in sorted(missing.items()):
        examination.report("filters", path, f"{count} layers should have their filters here and have none anywhere")
    for name, model in models.items():
        if filters.owned[name] != model["stored_filters"]:
            detail = f"stored_filters is {model['stored_filters']}, {filters.owned[name]} stand under its name"
            examination.report("count", name, detail)


def _blocks(examination: Examination) -> Iterator[Block]:
    first: Counter[str] = Counter()
    for path, row_group, table in examination.row_groups("filters"):
        for chunk in table.to_batches():
            weights = chunk["weights"]
            numbers, offsets = weights.values.to_numpy(), weights.offsets.to_numpy()
            rows = chunk.drop_columns(["weights"]).to_pylist()
            for place, row in enumerate(rows):
                yield Block(path, row_group, first[path] + place, row, numbers[offsets[place] : offsets[place + 1]])
            first[path] += len(rows)
