"""DagNN: layers with named input and output variables, and named parameters (dagnn.DagNN)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.matlab import CellArray, StructArray, Value
from filterzoo_plugins.formats.matconvnet.arrays import described, filters, integer, transposed

_CONV, _UP = "dagnn.Conv", "dagnn.ConvTranspose"
_UNKNOWN = "conv"


def is_dag(network: Mapping[str, Value]) -> bool:
    """Whether the network has parameters separate from its layers."""
    return isinstance(network.get("params"), StructArray) and isinstance(network["layers"], StructArray)


def convolutions(network: Mapping[str, Value], found: Convolutions) -> Iterator[str]:
    """Add the filters of each layer, in order; returns the paths of those added."""
    params, layers = network["params"], network["layers"]
    if not isinstance(params, StructArray) or not isinstance(layers, StructArray):
        raise Refused(Reason.MALFORMED, "a network without parameters or layers")
    values = {name: (place, p.get("value")) for place, p in enumerate(params.items) if (name := _text(p.get("name")))}
    depths = _depths(layers)
    for place, layer in enumerate(layers.items):
        type_ = _text(layer.get("type"))
        if _UNKNOWN not in type_.lower():
            continue
        name = _text(layer.get("name")) or f"layers.{place}"
        with found.reading(name, depths[place]):
            if type_ not in {_CONV, _UP}:
                raise Refused(
                    Reason.UNSUPPORTED, f"the layout of the weights of {ascii(type_)[:80]} is not known", name
                )
            names = _names(layer.get("params"))
            if not names or names[0] not in values:
                raise Refused(Reason.MALFORMED, "a convolution without filters", name)
            at, value = values[names[0]]
            block = layer.get("block")
            options = block.items[0] if isinstance(block, StructArray) and len(block.items) == 1 else {}
            tensor = filters(value, names[0], is_transposed=type_ == _UP)
            if type_ == _UP:
                groups = integer(options.get("numGroups"), 1, "numGroups")
                convolution = transposed(options, ("upsample", "crop"), groups, depths[place])
            else:
                convolution = described(options, ("stride", "pad", "dilate"), tensor.shape, None, depths[place])
            found.tensors.append(replace(tensor, convolution=convolution))
            yield f"params.{at}.value" if len(params.items) != 1 else "params.value"


def _depths(layers: StructArray) -> list[int]:
    """The depth of each layer. Refused if layers form a cycle."""
    inputs = [_names(layer.get("inputs")) for layer in layers.items]
    writers = {name: place for place, layer in enumerate(layers.items) for name in _names(layer.get("outputs"))}
    readers: list[list[int]] = [[] for _ in inputs]
    missing = [0] * len(inputs)
    for place, names in enumerate(inputs):
        for writer in {writers[name] for name in names if name in writers}:
            readers[writer].append(place)
            missing[place] += 1
    depths = [1] * len(inputs)
    ready = [place for place, count in enumerate(missing) if not count]
    done = 0
    while ready:
        place = ready.pop()
        done += 1
        for reader in readers[place]:
            depths[reader] = max(depths[reader], depths[place] + 1)
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if done != len(inputs):
        raise Refused(Reason.MALFORMED, "layers that read one another in a circle")
    return depths


def _names(value: Value) -> list[str]:
    if isinstance(value, CellArray):
        return [text for item in value.items if (text := _text(item))]
    return [value] if isinstance(value, str) and value else []


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""
