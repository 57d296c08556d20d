"""A stored array as a later node reads it: a view with scales, or the result of the nodes in between."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import accumulate
from math import isfinite, prod
from operator import mul
from typing import TYPE_CHECKING, NamedTuple

from filterzoo import DTYPES, Quantisation, Reason, Refused, Tensor
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.formats.onnx.array import DTYPES_OF_ONNX, MAX_NUMBERS, Array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from filterzoo_plugins.encodings.protobuf import WireReader

_EXACT_CASTS = {
    "F16": ("F32", "F64"),
    "BF16": ("F32", "F64"),
    "F8_E4M3": ("F16", "BF16", "F32", "F64"),
    "F8_E5M2": ("F16", "BF16", "F32", "F64"),
    "F32": ("F64",),
    "F64": ("F32",),
}
"""Casts that do not change the canonical float32: widening ones, and float64 to float32."""

_SMALL_INTEGERS = ("I8", "U8", "I16", "U16")
"""Types whose values are all representable in float32."""

_QUANTISED = (*_SMALL_INTEGERS, "I32", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
"""Types that DequantizeLinear accepts."""
_FLOAT8 = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ")

_STRUCT_CODES = {"F32": "f", "F64": "d", "F16": "e", "U8": "B", "I8": "b", "U16": "H", "I16": "h"}
_STRUCT_CODES |= {"U32": "I", "I32": "i", "U64": "Q", "I64": "q"}


@dataclass(frozen=True, slots=True)
class Dequantisation:
    """Scales and zero points of an integer constant, read only if a convolution reads the weight.

    axis: of the constant's shape, None for a single scale. scale: None stands for 1.
    """

    scale: Constant | None = None
    zero_point: Constant | None = None
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """A view of an array, or the result of a computation. dtype: of the values that a node reads, "" if unknown.

    array: the stored array that it is a view of, or named after. strides: in elements, None for C order. folded: the
    computed values, if any; then there are neither strides nor scales. obstacle: why the values are not known.
    """

    array: Array
    shape: tuple[int, ...]
    dtype: str
    strides: tuple[int, ...] | None = None
    dequantisation: Dequantisation | None = None
    obstacle: str | None = None
    folded: Tensor | None = None

    @classmethod
    def of(cls, array: Array) -> Constant:
        """The array itself."""
        return cls(array, array.shape, array.dtype, folded=array.packed)

    def operand(self, reader: WireReader, where: str) -> Tensor:
        """The values as a tensor; Unfoldable if they are not known, Refused if their scales are wrong."""
        obstacle = self.array.obstacle or self.obstacle
        if obstacle:
            raise Unfoldable(obstacle)
        if self.folded is not None:
            return self.folded
        if self.array.span is None:
            raise Unfoldable(f"an array of type {self.array.dtype} whose elements are no byte range")
        return Tensor(
            name=self.array.name,
            dtype=self.array.dtype,
            shape=self.shape,
            span=self.array.span,
            strides=self.strides,
            quantisation=quantisation_of(self, reader, where),
        )

    def computed(self, tensor: Tensor, dtype: str) -> Constant:
        """The result of a node on this array and others."""
        return Constant(self.array, tensor.shape, dtype, folded=tensor)

    def blocked(self, obstacle: str) -> Constant:
        """The constant with an obstacle: no convolution can read it."""
        return self if self.obstacle else replace(self, obstacle=obstacle)

    def cast(self, data_type: int) -> Constant:
        """The constant cast to another type, by its number in TensorProto.DataType."""
        dtype = DTYPES_OF_ONNX.get(data_type, "")
        if dtype == self.dtype or dtype in _EXACT_CASTS.get(self.dtype, ()):
            return replace(self, dtype=dtype)
        if self.dtype in _SMALL_INTEGERS and dtype in {"F32", "F64"}:
            return replace(self, dtype=dtype, dequantisation=Dequantisation())
        return self.blocked(f"a cast from {self.dtype} to {dtype or 'an unknown type'} changes its numbers")

    def dequantised(self, scale: Constant, zero_point: Constant | None, axis: int) -> Constant:
        """(q - zero_point) * scale, one scale for all or one for each slice along `axis`.

        The weight is this product in float32; a node with a float16 scale rounds it once more.
        """
        if self.dtype not in _QUANTISED:
            return self.blocked(f"numbers of type {self.dtype or 'unknown'} with a scale are not read")
        if len(scale.shape) > 1:
            return self.blocked("it is quantised in blocks")
        if scale.array.count == 1:
            return replace(self, dtype="F32", dequantisation=Dequantisation(scale, zero_point))
        axis += len(self.shape) if axis < 0 else 0
        if not 0 <= axis < len(self.shape) or self.shape[axis] != scale.array.count:
            return self.blocked(f"{scale.array.count} scales do not fit axis {axis} of shape {self.shape}")
        return replace(self, dtype="F32", dequantisation=Dequantisation(scale, zero_point, axis))

    def rearranged(self, axes: Sequence[int | None]) -> Constant:
        """The transposed view; None in the order inserts an axis of length 1."""
        known = [axis for axis in axes if axis is not None]
        dropped = set(range(len(self.shape))) - set(known)
        if len(set(known)) != len(known) or any(not 0 <= axis < len(self.shape) for axis in known):
            return self.blocked(f"axes {tuple(axes)} are not those of shape {self.shape}")
        if any(self.shape[axis] != 1 for axis in dropped):
            return self.blocked(f"axes {sorted(dropped)} of shape {self.shape} are not of length 1")
        strides = self.strides or contiguous_strides(self.shape)
        shape = tuple(1 if axis is None else self.shape[axis] for axis in axes)
        moved = tuple(1 if axis is None else strides[axis] for axis in axes)
        view = replace(self, shape=shape, strides=_strides_or_none(shape, moved))
        slices = self.dequantisation.axis if self.dequantisation else None
        return view if slices is None else view.with_scales_along(axes.index(slices) if slices in axes else None)

    def reshaped(self, shape: tuple[int, ...]) -> Constant:
        """The reshaped view, in C order."""
        if shape == self.shape:
            return self
        if self.strides or prod(shape) != prod(self.shape):
            return self.blocked(f"it is reshaped from {self.shape} to {shape} after a transposition, or does not fit")
        view = replace(self, shape=shape)
        axis = self.dequantisation.axis if self.dequantisation else None
        if axis is None:
            return view
        before = prod(self.shape[:axis])
        places = [place for place, count in enumerate(accumulate((1, *shape), mul)) if count == before]
        fitting = [place for place in places if place < len(shape) and shape[place] == self.shape[axis]]
        return view.with_scales_along(fitting[-1] if fitting else None)

    def with_scales_along(self, axis: int | None) -> Constant:
        """The constant with its scales along another axis, None if no axis fits."""
        if axis is None or self.dequantisation is None:
            return self.blocked("its scales do not lie along one axis after a reshape")
        return replace(self, dequantisation=replace(self.dequantisation, axis=axis))


class Value(NamedTuple):
    """Facts about a named value of a graph.

    depth: edges of the longest path to it from any input (docs/measures.md, 2), from any constant if none leads to it.
    live: whether it depends on an input. constant: its value, if constant.
    """

    depth: int
    live: bool
    constant: Constant | None = None


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of C order, in elements: (4, 3, 2) -> (6, 2, 1)."""
    return tuple(prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _strides_or_none(shape: tuple[int, ...], strides: tuple[int, ...]) -> tuple[int, ...] | None:
    """The strides, None for C order; the stride of an axis of length 1 is ignored."""
    pairs = zip(shape, strides, contiguous_strides(shape), strict=True)
    return None if all(dim == 1 or stride == plain for dim, stride, plain in pairs) else strides


def quantisation_of(constant: Constant, reader: WireReader, where: str) -> Quantisation | None:
    """The scales and zero points, read from the file; None if the constant is not quantised.

    Refused (malformed) for invalid values or counts.
    """
    way = constant.dequantisation
    if way is None:
        return None
    scales = read_numbers(way.scale, reader, where) if way.scale else (1.0,)
    points = read_numbers(way.zero_point, reader, where) if way.zero_point else (0,)
    if not all(isfinite(number) for number in (*scales, *points)):
        raise Refused(Reason.MALFORMED, "scales or zero points are not finite", where)
    if len(points) not in {1, len(scales)}:
        raise Refused(Reason.UNSUPPORTED, f"{len(scales)} scales but {len(points)} zero points", where)
    points = points * len(scales) if len(points) == 1 else points
    return Quantisation(tuple(map(float, scales)), tuple(map(int, points)), way.axis)


def read_numbers(constant: Constant, reader: WireReader, where: str) -> tuple[float, ...]:
    """The elements of a small constant: scales, zero points, shapes, axes. Refused if they are invalid."""
    array = constant.array
    if constant.obstacle or constant.strides or constant.dequantisation:
        raise Refused(Reason.UNSUPPORTED, f"scales or axes are computed: {constant.obstacle or 'strided'}", where)
    if constant.folded is not None and array.varints is None:
        raise Refused(Reason.UNSUPPORTED, "scales or axes are computed", where)
    if array.obstacle and array.literal is None:
        raise Refused(Reason.UNSUPPORTED, f"scales or axes that cannot be read: {array.obstacle}", where)
    if array.count > MAX_NUMBERS:
        raise Refused(Reason.LIMIT, f"{array.count} numbers where few belong", where)
    if array.literal is not None:
        stored = array.literal
        if len(stored) != array.count:
            raise Refused(Reason.MALFORMED, f"{len(stored)} numbers in shape {array.shape}", where)
        return stored
    size = DTYPES[array.dtype].size
    if array.varints:
        mask = (1 << 8 * size) - 1
        words = reader.varints(*array.varints, MAX_NUMBERS)
        content = b"".join((word & mask).to_bytes(size, "little") for word in words)
    else:
        content = _content(array, reader)
    return _unpack(content, array, where)


def _content(array: Array, reader: WireReader) -> bytes:
    span = array.span
    if span is None:
        return b""
    if span.side is None:
        return reader.read(span.offset, span.length)
    with reader.file.beside(span.side) as side:
        return side.read(span.offset, span.length)


def _unpack(content: bytes, array: Array, where: str) -> tuple[float, ...]:
    if array.dtype in _FLOAT8 and not any(content):
        return (0.0,) * array.count  # zero points of these types can only be zero
    if array.dtype == "BF16":
        content = b"".join(b"\0\0" + content[place : place + 2] for place in range(0, len(content), 2))
    code = _STRUCT_CODES.get("F32" if array.dtype == "BF16" else array.dtype)
    if code is None:
        raise Refused(Reason.UNSUPPORTED, f"scales or axes of type {array.dtype} are not read", where)
    if len(content) != array.count * struct.calcsize(f"<{code}"):
        raise Refused(Reason.MALFORMED, f"not {array.count} numbers of type {array.dtype}", where)
    return struct.unpack(f"<{array.count}{code}", content)
