"""Reads Caffe's NetParameter (caffe.proto): layers, their inputs and outputs, and the byte ranges of their arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

from filterzoo import Layout, RandomAccessFile, Reason, Refused, Span, Tensor
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import WireReader, length_tag, signed, varint_tag

MAX_LAYERS = 100_000
MAX_BLOBS = 1000
"""Most arrays of one layer."""
MAX_NAMES = 100_000
"""Most inputs or outputs of one layer."""
MAX_LIST = 16
_LEGACY = {varint_tag(number): number - 1 for number in range(1, 5)}
"""num, channels, height, width of a BlobProto."""
_DATA, _DOUBLES, _SHAPE = length_tag(5), length_tag(8), length_tag(7)
_OLD_TYPES = {4: "Convolution", 39: "Deconvolution"}
"""The members of V1LayerParameter.LayerType that are convolutions."""


@dataclass(slots=True)
class LayerParameter:
    """A layer. numbers: its ConvolutionParameter by field, None without one. obstacle: why it is not read."""

    name: str = ""
    type: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    blobs: list[Tensor] = field(default_factory=list)
    numbers: dict[int, list[int]] | None = None
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class _Fields:
    """Field numbers of a layer, in one version of the schema."""

    name: int
    type: int
    inputs: int
    outputs: int
    blobs: int
    convolution: int


_PRESENT = _Fields(name=1, type=2, inputs=3, outputs=4, blobs=7, convolution=106)
_OLD = _Fields(name=4, type=5, inputs=2, outputs=3, blobs=6, convolution=10)
_OLDEST = length_tag(1)
"""The V0LayerParameter in a V1 layer."""


def read_layers(reader: WireReader) -> list[LayerParameter]:
    """All layers, in file order."""
    file: RandomAccessFile = reader.file
    layers: list[LayerParameter] = []
    for tag, length, at in reader.fields(0, file.size):
        if tag in {length_tag(100), length_tag(2)}:
            if len(layers) >= MAX_LAYERS:
                raise Refused(Reason.LIMIT, f"more than {MAX_LAYERS} layers")
            layers.append(_layer(reader, _PRESENT if tag == length_tag(100) else _OLD, at, at + length))
    return layers


def _layer(reader: WireReader, fields: _Fields, start: int, end: int) -> LayerParameter:
    layer = LayerParameter()
    blobs: list[tuple[int, int]] = []
    for tag, value, at in reader.fields(start, end):
        if tag == length_tag(fields.blobs):
            blobs.append((at, at + value))
            if len(blobs) > MAX_BLOBS:
                raise Refused(Reason.LIMIT, f"a layer of more than {MAX_BLOBS} arrays", show(layer.name))
        elif fields is _OLD and tag == _OLDEST:
            raise Refused(Reason.UNSUPPORTED, "a Caffe network of the oldest form (V0)", f"byte {at}")
        else:
            _describe(layer, reader, fields, (tag, value, at))
    for place, (at, stop) in enumerate(blobs):
        tensor = _blob(reader, f"{layer.name}.{place}", at, stop)
        if tensor is None:
            layer.obstacle = layer.obstacle or "its numbers are stored in a way that is not read"
        else:
            layer.blobs.append(tensor)
    return layer


def _describe(layer: LayerParameter, reader: WireReader, fields: _Fields, found: tuple[int, int, int]) -> None:
    """Set the attribute for one field (tag, value, offset)."""
    tag, value, at = found
    if tag == length_tag(fields.name):
        layer.name = reader.text(at, value)
    elif tag >> 3 == fields.type:
        is_word = fields is _PRESENT and tag == length_tag(fields.type)
        layer.type = reader.text(at, value) if is_word else _OLD_TYPES.get(value, f"type {value}")
    elif tag in {length_tag(fields.inputs), length_tag(fields.outputs)}:
        names = layer.inputs if tag == length_tag(fields.inputs) else layer.outputs
        names.append(reader.text(at, value))
        if len(names) > MAX_NAMES:
            raise Refused(Reason.LIMIT, f"a layer of more than {MAX_NAMES} inputs", show(layer.name))
    elif tag == length_tag(fields.convolution):
        layer.numbers = _numbers(reader, at, at + value)


def _numbers(reader: WireReader, start: int, end: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for tag, value, at in reader.fields(start, end):
        numbers = found.setdefault(tag >> 3, [])
        if tag & 7 == 0:
            numbers.append(value)
        elif tag & 7 == 2 and tag >> 3 in {3, 4, 6, 18}:
            numbers += reader.varints(at, value, MAX_LIST)
        if len(numbers) > MAX_LIST:
            raise Refused(Reason.LIMIT, f"more than {MAX_LIST} numbers where few belong", f"byte {at}")
    return found


def _blob(reader: WireReader, name: str, start: int, end: int) -> Tensor | None:
    """An array; None if its elements are in no known field, or in several."""
    legacy = [1, 1, 1, 1]
    shape: tuple[int, ...] | None = None
    found: list[tuple[str, int, int]] = []
    is_legacy = False
    for tag, value, at in reader.fields(start, end):
        if tag in _LEGACY:
            legacy[_LEGACY[tag]] = signed(value)
            is_legacy = True
        elif tag == _SHAPE:
            shape = tuple(_sides(reader, at, at + value))
        elif tag in {_DATA, _DOUBLES}:
            found.append(("F32" if tag == _DATA else "F64", at, value))
        elif tag >> 3 in {5, 8, 12} and len(found) < 2:
            found.append(("", at, value))
    if len(found) != 1 or not found[0][0]:
        return None
    dtype, offset, length = found[0]
    size = 4 if dtype == "F32" else 8
    if shape is None:
        shape = tuple(legacy) if is_legacy else (length // size,)
    if min(shape, default=1) < 0 or prod(shape) * size != length:
        raise Refused(Reason.MALFORMED, f"{length} bytes for {dtype} of shape {shape[:8]}"[:160], show(name))
    return Tensor(name=name, dtype=dtype, shape=shape, span=Span(offset, length), layout=Layout.OTHER)


def _sides(reader: WireReader, start: int, end: int) -> Iterator[int]:
    for tag, value, at in reader.fields(start, end):
        if tag == length_tag(1):
            yield from map(signed, reader.varints(at, value, MAX_LIST))
        elif tag == varint_tag(1):
            yield signed(value)
