"""Whether fragments still hold what they are named after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import pyarrow as pa

from filterzoo.layers.layer import kernel_name
from filterzoo.layers.normalise import layer_hasher
from filterzoo.store.fragments import BLOCK, FILTER_SCHEMA, LAYER_SCHEMA, FragmentStore, name_of_filters

Row = Mapping[str, Any]


class Unsound(Exception):
    """Raised for a fragment that does not hold what it should; the text says how it was noticed."""


def layer_rows(store: FragmentStore, name: str) -> list[Row]:
    """Rows of a layers fragment whose bytes are those it is named after; Unsound otherwise."""
    try:
        if (found := store.sha256(name)) != name:
            raise Unsound(f"its sha256 is {found}")
        table = store.layers(name)
        if not table.schema.equals(LAYER_SCHEMA):
            raise Unsound("its columns are not those of this version")
        rows: list[Row] = table.select(["layer_id", "kernel", "shape"]).to_pylist()
    except FileNotFoundError:
        raise Unsound("it is missing") from None
    except (OSError, pa.ArrowException) as error:
        raise Unsound(f"it cannot be read: {error}") from error
    return rows


def check_filters(store: FragmentStore, name: str, layers: Sequence[Row], *, weights: bool = True) -> None:
    """Unsound unless the filters fragment holds, of those layers, every one of the kernel sizes that it has.

    weights: also look at every weight; without, those who read them do it by `check_batch`.
    """
    shapes = {row["layer_id"]: tuple(row["shape"]) for row in layers}
    found: dict[str, None] = {}
    try:
        if not store.exists(name):
            raise Unsound("it is missing")
        for batch in store.filters(name):
            batch.validate(full=True)  # before anything is read through an offset
            if batch.num_rows:
                found[check_batch(batch, shapes, weights=weights)] = None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise Unsound(f"it cannot be read: {error}") from error
    kernels = {kernel_name(shapes[layer_id][2:]) for layer_id in found}
    expected = dict.fromkeys(row["layer_id"] for row in layers if row["kernel"] in kernels)
    if list(found) != [layer_id for layer_id in expected if 0 not in shapes[layer_id][:2]]:
        raise Unsound("its layers are not those of the checkpoint")
    if name_of_filters(expected) != name:
        raise Unsound("its layers are not those it is named after")


def check_batch(batch: pa.RecordBatch, shapes: Mapping[str, tuple[int, ...]], *, weights: bool = True) -> str:
    """The id of the one layer that a batch holds, recomputed from its weights if asked to; Unsound otherwise."""
    if not batch.schema.equals(FILTER_SCHEMA):
        raise Unsound("its columns are not those of this version")
    layer_id = batch["layer_id"][0].as_py()
    shape = shapes.get(layer_id)
    if shape is None:
        raise Unsound("it holds a layer that the checkpoint has not")
    numbers = batch["weights"].flatten()
    if any(column.null_count for column in (*batch.columns, numbers)):
        raise Unsound(f"numbers of layer {layer_id} are missing")
    firsts = list(range(0, shape[0] * shape[1], BLOCK))
    counts = [min(BLOCK, shape[0] * shape[1] - first) for first in firsts]
    facts = {
        "layer_id": [layer_id] * len(firsts),
        "kernel": [kernel_name(shape[2:])] * len(firsts),
        "first_filter": firsts,
        "n_filters": counts,
    }
    if any(batch[column].to_pylist() != values for column, values in facts.items()):
        raise Unsound(f"the blocks of layer {layer_id} do not follow each other")
    if len(numbers) != prod(shape):
        raise Unsound(f"layer {layer_id} has {len(numbers)} numbers, its shape {prod(shape)}")
    if not weights:
        return str(layer_id)
    hasher = layer_hasher(shape)
    hasher.update(numbers.to_numpy(zero_copy_only=True))
    if hasher.hexdigest() != layer_id:
        raise Unsound(f"the weights of layer {layer_id} are not those it is named after")
    return str(layer_id)
