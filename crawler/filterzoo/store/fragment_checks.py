"""Checks fragments against the hashes in their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import prod
from operator import itemgetter
from typing import Any

import pyarrow as pa

from filterzoo.layers.normalise import layer_hasher
from filterzoo.layers.shapes import kernel_name
from filterzoo.store.filters import BLOCK
from filterzoo.store.former_filters import former_name
from filterzoo.store.fragments import LAYER_SCHEMA, FragmentStore

Row = Mapping[str, Any]
_FACTS = ["layer_id", "kernel", "first_filter", "n_filters"]
"""Columns of filters that give a block's position in its layer."""


class Unsound(Exception):
    """Raised for a fragment with wrong content; the text says how it was detected."""


def layer_rows(store: FragmentStore, name: str) -> list[Row]:
    """Rows of a layers fragment whose bytes match its name; Unsound otherwise."""
    try:
        check_bytes(name, store.sha256(name))
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
    """Unsound unless the filters fragment contains all of those layers with its kernel sizes.

    weights: also check every byte; otherwise readers of layers use `check_layer`, and users of the whole file
    `check_bytes`.
    """
    shapes = {row["layer_id"]: tuple(row["shape"]) for row in layers}
    try:
        if weights and store.is_encoded(name):
            check_bytes(name, store.sha256(name, of_filters=True))
        with store.open_filters(name) as file:
            rows = file.facts(_FACTS).to_pylist()
            found = [_check_blocks(list(run), shapes) for _, run in groupby(rows, key=itemgetter("layer_id"))]
            if weights:
                for layer in file.layers():
                    check_layer(layer, shapes)
    except FileNotFoundError:
        raise Unsound("it is missing") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise Unsound(f"it cannot be read: {error}") from error
    kernels = {kernel_name(shapes[layer_id][2:]) for layer_id in found}
    expected = dict.fromkeys(row["layer_id"] for row in layers if row["kernel"] in kernels)
    if found != [layer_id for layer_id in expected if 0 not in shapes[layer_id][:2]]:
        raise Unsound("its layers are not those of the checkpoint")
    if not store.is_encoded(name) and former_name(expected) != name:
        raise Unsound("its layers are not those it is named after")


def check_bytes(name: str, sha256: str) -> None:
    """Unsound if a fragment's bytes do not match its name."""
    if sha256 != name:
        raise Unsound(f"its sha256 is {sha256}")


def check_layer(layer: pa.Table, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Unsound unless a layer's weights match its id. layer: checked rows, FILTER_SCHEMA."""
    layer_id = layer["layer_id"][0].as_py()
    shape = shapes[layer_id]
    hasher = layer_hasher(shape)
    count = 0
    for chunk in layer["weights"].chunks:
        numbers = chunk.flatten()
        if numbers.null_count or chunk.null_count:
            raise Unsound(f"numbers of layer {layer_id} are missing")
        hasher.update(numbers.to_numpy(zero_copy_only=True))
        count += len(numbers)
    if count != prod(shape):
        raise Unsound(f"layer {layer_id} has {count} numbers, its shape {prod(shape)}")
    if hasher.hexdigest() != layer_id:
        raise Unsound(f"the weights of layer {layer_id} are not those it is named after")


def _check_blocks(rows: list[dict[str, Any]], shapes: Mapping[str, tuple[int, ...]]) -> str:
    """The layer of consecutive blocks in a file; Unsound if they are not consecutive."""
    layer_id = rows[0]["layer_id"]
    shape = shapes.get(layer_id)
    if shape is None:
        raise Unsound("it holds a layer that the checkpoint has not")
    count = shape[0] * shape[1]
    expected = [
        dict(zip(_FACTS, (layer_id, kernel_name(shape[2:]), first, min(BLOCK, count - first)), strict=True))
        for first in range(0, count, BLOCK)
    ]
    if rows != expected:
        raise Unsound(f"the blocks of layer {layer_id} do not follow each other")
    return str(layer_id)
