"""SimpleNN: a chain of layers (vl_simplenn)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.matlab import CellArray, StructArray, Value
from filterzoo_plugins.formats.matconvnet.arrays import described, filters, integer, transposed

_SAME = frozenset({"relu", "pool", "lrn", "normalize", "bnorm", "dropout", "sigmoid", "noffset", "softmax", "spnorm"})
"""Layers whose output has as many channels as their input."""
_OPTIONS, _UP = ("stride", "pad", "dilate"), ("upsample", "crop")


def convolutions(network: Mapping[str, Value], found: Convolutions) -> Iterator[str]:
    """Add the filters of each layer; returns the paths of those added."""
    layers = network["layers"]
    items = layers.items if isinstance(layers, CellArray) else ()
    channels: int | None = None
    for place, item in enumerate(items):
        layer = item.items[0] if isinstance(item, StructArray) and len(item.items) == 1 else None
        type_ = layer.get("type") if layer else None
        if layer is None or not isinstance(type_, str):
            raise Refused(Reason.MALFORMED, "a layer that is no struct with a type", f"layer {place}")
        if type_ not in {"conv", "convt"}:
            channels = channels if type_ in _SAME else None
            continue
        name = layer.get("name")
        path, weights = _weights(layer)
        called = f"{name}.filters" if isinstance(name, str) and name else f"layers.{place}.{path}"
        with found.reading(called, place):
            tensor = filters(weights, called, is_transposed=type_ == "convt")
            if type_ == "convt":
                groups = integer(layer.get("numGroups"), 1, "numGroups")
                convolution = transposed(layer, _UP, groups, place)
                channels, shape = tensor.shape[2], tensor.shape
            else:
                shape = tensor.shape
                convolution = described(layer, _OPTIONS, shape, channels, place)
                channels = shape[3]
            found.tensors.append(replace(tensor, convolution=convolution))
            yield f"layers.{place}.{path}"


def _weights(layer: Mapping[str, Value]) -> tuple[str, Value]:
    """The filters: `filters` of old networks, the first of `weights` of new ones."""
    weights = layer.get("weights")
    if isinstance(weights, CellArray) and weights.items:
        return "weights.0", weights.items[0]
    return "filters", layer.get("filters")
