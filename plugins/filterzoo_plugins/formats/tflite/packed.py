"""Packed arrays of a TFLite file: fewer than 8 bits, or sparse."""

from __future__ import annotations

from math import prod

from filterzoo import DTYPES, Layout, Reason, Refused, Span, Step, Tensor
from filterzoo_plugins.encodings.flatbuffer import Table
from filterzoo_plugins.encodings.folding import Unfoldable, packed

BITS = {17: (4, True), 19: (2, True), 20: (4, False)}
"""INT4, INT2 and UINT4 of TensorType: number of bits, and whether they are signed."""

_DENSE, _COMPRESSED = 0, 1
_INDEX_TYPES = {1: "I32", 2: "U16", 3: "U8"}
"""SparseIndexVector."""
_MAX_LEVELS = 16


def few_bits(name: str, shape: tuple[int, ...], kind: int, span: Span) -> Tensor:
    """The integers of the array; Refused (malformed) if the number of bytes does not match the shape."""
    bits, is_signed = BITS[kind]
    if min(shape, default=0) < 0 or span.length != (prod(shape) * bits + 7) // 8:
        detail = f"shape {shape[:8]} of {bits} bits does not fill {span.length} bytes"
        raise Refused(Reason.MALFORMED, detail, ascii(name)[:80])
    content = _bytes(name, "U8", span)
    return packed(content, shape, "I8" if is_signed else "U8", Step.BITS, numbers=(bits, int(is_signed)))


def sparse(name: str, shape: tuple[int, ...], dtype: str, span: Span, parameters: Table) -> Tensor:
    """The dense array (schema.fbs, SparsityParameters); Unfoldable if the parts contradict each other."""
    order, blocks = parameters.integers(0, "i", _MAX_LEVELS), parameters.integers(1, "i", _MAX_LEVELS)
    levels = list(parameters.tables(2, _MAX_LEVELS))
    is_permutation = sorted(order) == list(range(len(levels)))
    if len(levels) != len(shape) + len(blocks) or not is_permutation or min(shape, default=0) < 1:
        raise Unfoldable(f"{len(levels)} levels of a sparse array of shape {shape[:8]}")
    if span.length % DTYPES[dtype].size:
        raise Unfoldable(f"{span.length} bytes of {dtype}")
    sizes: list[int] = []
    parts: list[Tensor] = []
    for level in levels:
        if level.integer(0, "b") == _DENSE:
            sizes.append(level.integer(1, "i"))
            if sizes[-1] < 1:
                raise Unfoldable("a level of a sparse array without a length")
        else:
            sizes.append(-1)
            parts += [_indices(name, level, slot) for slot in (2, 4)]
    numbers = (len(levels), *order, *blocks, *sizes)
    return packed(_bytes(name, dtype, span), shape, dtype, Step.DENSIFY, *parts, numbers=numbers)


def _indices(name: str, level: Table, slot: int) -> Tensor:
    """The segments or the indices of a compressed level: a union type, then the vector."""
    dtype, vector = _INDEX_TYPES.get(level.integer(slot, "B")), level.table(slot + 1)
    if dtype is None or vector is None:
        raise Unfoldable("a compressed level without its indices")
    size = DTYPES[dtype].size
    position, count = vector.vector(0, size)
    return _bytes(name, dtype, Span(vector.buffer.start + position, count * size))


def _bytes(name: str, dtype: str, span: Span) -> Tensor:
    shape = (span.length // DTYPES[dtype].size,)
    return Tensor(name=name, dtype=dtype, shape=shape, span=span, layout=Layout.OTHER)
