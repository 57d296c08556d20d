"""The constants of an OpenVINO network: byte ranges of the weights file, and facts about values."""

from __future__ import annotations

import struct
from math import prod
from typing import NamedTuple

from filterzoo import DTYPES, Layout, RandomAccessFile, Reason, Refused, Span, Step, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show, without_surrogates
from filterzoo_plugins.formats.openvino.document import LayerEntry, whole_numbers

DTYPES_OF_ELEMENTS = {
    "f64": "F64",
    "f32": "F32",
    "f16": "F16",
    "bf16": "BF16",
    "f8e4m3": "F8_E4M3",
    "f8e5m2": "F8_E5M2",
    "i64": "I64",
    "i32": "I32",
    "i16": "I16",
    "i8": "I8",
    "u64": "U64",
    "u32": "U32",
    "u16": "U16",
    "u8": "U8",
    "boolean": "BOOL",
}
_PACKED = {"i4": ("I8", True), "u4": ("U8", False)}
"""Types with two numbers per byte, the first one in the lowest bits."""
_MAX_RANK = 16
_MAX_NUMBERS = 64
"""Most axes, or sides of a shape."""


class Value(NamedTuple):
    """Facts about a layer's output: depth (docs/measures.md, 2), whether it depends on an input, its value if constant.

    element: the type that the graph computes in. source: the id of the constant that it is named after. obstacle: why
    the elements of a constant are not known.
    """

    depth: int
    live: bool
    tensor: Tensor | None = None
    element: str = ""
    source: str = ""
    obstacle: str = ""

    def numbers(self) -> Tensor:
        """The value as a tensor; Unfoldable if it is not known."""
        if self.tensor is None:
            raise Unfoldable(self.obstacle or "it depends on an input")
        return self.tensor


class WeightsFile:
    """The side file with the weights. name: a plain file name. It is opened when the first constant is located."""

    def __init__(self, file: RandomAccessFile, name: str) -> None:
        self._file = file
        self._name = name
        self._side: RandomAccessFile | None = None

    def span(self, layer: LayerEntry) -> Span:
        """The byte range of a constant; Refused (malformed) if it is missing or outside the file."""
        try:
            (offset,), (size,) = whole_numbers(layer.data["offset"]), whole_numbers(layer.data["size"])
        except (KeyError, ValueError):
            raise Refused(Reason.MALFORMED, "a constant that does not say where it is", show(layer.name)) from None
        if size == 0:
            return Span(0, 0, self._name)
        if offset < 0 or size < 0 or offset + size > self._opened().size:
            raise Refused(Reason.MALFORMED, "a constant lies outside the file of weights", show(layer.name))
        return Span(offset, size, self._name)

    def integers(self, value: Value) -> list[int]:
        """A few stored integers: axes, a permutation, a shape."""
        tensor = value.numbers()
        code = {"I32": "i", "I64": "q", "I8": "b", "U8": "B"}.get(tensor.dtype)
        if tensor.computation or tensor.quantisation or tensor.strides or code is None or len(tensor.shape) > 1:
            raise Unfoldable("a shape or axes that are no stored integers")
        count = prod(tensor.shape)
        if count > _MAX_NUMBERS:
            raise Unfoldable("a shape or axes of too many numbers")
        content = self._opened().read(tensor.span.offset, tensor.span.length)
        return list(struct.unpack(f"<{count}{code}", content))

    def will_read(self, spans: list[Span]) -> None:
        """Announce calls of `integers`, before the first one."""
        if spans:
            self._opened().will_read([(span.offset, span.length) for span in spans])

    def close(self) -> None:
        """Close the file."""
        if self._side is not None:
            self._side.close()

    def _opened(self) -> RandomAccessFile:
        if self._side is None:
            self._side = self._file.beside(self._name)
        return self._side


def constant(layer: LayerEntry, span: Span) -> Value:
    """The value of a Const."""
    plain = Value(0, live=False, source=layer.id, element=layer.data.get("element_type", ""))
    try:
        return plain._replace(tensor=_tensor(layer, span))
    except Unfoldable as error:
        return plain._replace(obstacle=str(error))


def listed(layer: LayerEntry, span: Span) -> Tensor:
    """The listed form of a stored constant; bytes for types smaller than a byte."""
    try:
        tensor = _tensor(layer, span)
    except (Unfoldable, Refused):
        tensor = None
    if tensor is None or tensor.computation is not None:
        return _stored(layer, "U8", (span.length,), span)
    return tensor


def _tensor(layer: LayerEntry, span: Span) -> Tensor:
    element, shape = layer.data.get("element_type", ""), layer.integers("shape", ())
    if min(shape, default=1) < 0 or len(shape) > _MAX_RANK:
        raise Unfoldable(f"a constant of shape {shape[:8]}")
    count = prod(shape)
    if element in _PACKED:
        dtype, is_signed = _PACKED[element]
        if span.length != (count + 1) // 2:
            raise Refused(Reason.MALFORMED, f"{span.length} bytes for {count} numbers of {element}", show(layer.name))
        whole = _stored(layer, "U8", (span.length,), span)
        return folding.packed(whole, shape, dtype, Step.BITS, numbers=(4, int(is_signed)))
    dtype = DTYPES_OF_ELEMENTS.get(element, "")
    if not dtype:
        raise Unfoldable(f"a constant of type {show(element)}")
    if span.length != count * DTYPES[dtype].size:
        raise Refused(Reason.MALFORMED, f"{span.length} bytes for {count} numbers of {element}", show(layer.name))
    return _stored(layer, dtype, shape, span)


def _stored(layer: LayerEntry, dtype: str, shape: tuple[int, ...], span: Span) -> Tensor:
    return Tensor(name=without_surrogates(layer.name), dtype=dtype, shape=shape, span=span, layout=Layout.OTHER)
