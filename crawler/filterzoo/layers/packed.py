"""Packed arrays: varints, fewer than 8 bits, sparse, big-endian, text."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from filterzoo.computation import Step
from filterzoo.dtypes import DType
from filterzoo.errors import Reason, Refused
from filterzoo.records import Computation

Array = npt.NDArray[Any]

DECODINGS = frozenset({Step.VARINTS, Step.EVERY, Step.BITS, Step.DENSIFY, Step.SWAP, Step.TEXT})
"""The steps that unpack an array to the dtype of its tensor."""

_LONGEST_VARINT = 10


def decode(computation: Computation, inputs: Sequence[Array], dtype: DType, shape: Sequence[int], name: str) -> Array:
    """The array's bits in its dtype; Refused (malformed) if the inputs are not such an array."""
    try:
        match computation.step:
            case Step.VARINTS:
                flat = _varints(inputs[0], dtype, prod(shape))
            case Step.EVERY:
                flat = _every(inputs[0], computation.numbers, dtype)
            case Step.BITS:
                flat = _bits(inputs[0], computation.numbers, dtype, prod(shape))
            case Step.SWAP:
                flat = _swapped(inputs[0], dtype)
            case Step.TEXT:
                flat = _from_text(inputs[0], dtype, computation.numbers, shape)
            case _:
                flat = _dense(inputs, computation.numbers, dtype, tuple(shape))
    except (ValueError, IndexError, OverflowError) as error:
        detail = f"{computation.step}: the stored bytes are no array of shape {tuple(shape)}"
        raise Refused(Reason.MALFORMED, detail[:200], name[:200]) from error
    return flat.reshape(tuple(shape))


def _varints(content: Array, dtype: DType, count: int) -> Array:
    """Protobuf's variable-length integers; the lowest bytes of each are the element's bits."""
    ends = np.flatnonzero(content < 0x80)
    if dtype.size > 8 or len(ends) != count or (count and ends[-1] != len(content) - 1) or (not count and len(content)):
        raise ValueError
    starts = np.concatenate([[0], ends[:-1] + 1]) if count else ends
    lengths = ends - starts + 1
    longest = int(lengths.max(initial=0))
    if longest > _LONGEST_VARINT:
        raise ValueError
    words = np.zeros(count, np.uint64)
    for place in range(longest):
        has = lengths > place
        words[has] |= (content[starts[has] + place] & 0x7F).astype(np.uint64) << np.uint64(7 * place)
    return words.astype(f"<u{dtype.size}").view(dtype.numpy)


def _every(content: Array, numbers: Sequence[int], dtype: DType) -> Array:
    period, skipped = numbers
    if not 0 <= skipped <= period - dtype.size or len(content) % period:
        raise ValueError
    parts = content.reshape(-1, period)[:, skipped : skipped + dtype.size]
    return np.ascontiguousarray(parts).view(dtype.numpy).reshape(-1)


def _bits(content: Array, numbers: Sequence[int], dtype: DType, count: int) -> Array:
    """Integers of 1, 2 or 4 bits, the first in the lowest bits of a byte."""
    bits, is_signed = numbers
    if bits not in {1, 2, 4} or dtype.size != 1 or len(content) != (count * bits + 7) // 8:
        raise ValueError
    per_byte = 8 // bits
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    spread = (content[:, None] >> shifts & np.uint8((1 << bits) - 1)).reshape(len(content) * per_byte)[:count]
    if is_signed:
        sign = np.int8(1 << (bits - 1))
        return (spread.astype(np.int8) ^ sign) - sign
    return spread


def _swapped(content: Array, dtype: DType) -> Array:
    """Reverses the bytes of each number; of a complex number, of each half."""
    if content.dtype.itemsize != dtype.size:
        raise ValueError
    if content.dtype.kind == "c":
        return np.ascontiguousarray(content).byteswap()
    return np.ascontiguousarray(content).byteswap().view(dtype.numpy)


def _from_text(content: Array, dtype: DType, numbers: Sequence[int], shape: Sequence[int]) -> Array:
    """Each code point is a byte: `_codecs.encode(text, "latin1")`. numbers: (1,) for Fortran order, else (0,)."""
    flat = np.frombuffer(content.tobytes().decode("utf-8").encode("latin-1"), np.uint8).view(dtype.numpy)
    return flat.reshape(tuple(shape), order="F" if numbers[0] else "C")


def _dense(inputs: Sequence[Array], numbers: Sequence[int], dtype: DType, shape: tuple[int, ...]) -> Array:
    """TFLite's sparse tensors (schema.fbs, SparsityParameters): levels that are dense or compressed rows.

    numbers: the number of levels; their order; the axes that are split into blocks; then for each level its length, or
    -1 if it is compressed. inputs: the values, then segments and indices of each compressed level.
    """
    order, blocks, sizes = _sparsity(numbers, len(shape))
    values = inputs[0].reshape(-1)
    places = _coordinates(sizes, [each.reshape(-1) for each in inputs[1:]], len(values))
    by_axis = {axis: places[level] for level, axis in enumerate(order)}
    for number, axis in enumerate(blocks):
        inner = len(shape) + number
        side = sizes[order.index(inner)]
        if side < 1 or (by_axis[inner] >= side).any():
            raise ValueError
        by_axis[axis] = by_axis[axis] * side + by_axis[inner]
    flat = np.ravel_multi_index([by_axis[axis] for axis in range(len(shape))], shape)
    dense = np.zeros(prod(shape), dtype.numpy)
    dense[flat] = values
    return dense


def _coordinates(sizes: Sequence[int], arrays: Sequence[Array], values: int) -> list[Array]:
    """For each level, the coordinate of each value."""
    _check_lengths(sizes, arrays, values)
    places: list[Array] = []
    compressed, nodes = 0, 1
    for size in sizes:
        if size >= 0:
            counts, indices = np.full(nodes, size), np.tile(np.arange(size), nodes)
        else:
            segments, indices = (each.astype(np.int64) for each in arrays[compressed : compressed + 2])
            compressed += 2
            counts = np.diff(segments)
            if segments[0] != 0 or (counts < 0).any() or segments[-1] != len(indices):
                raise ValueError
        places = [*(np.repeat(place, counts) for place in places), indices]
        nodes = len(indices)
    return places


def _check_lengths(sizes: Sequence[int], arrays: Sequence[Array], values: int) -> None:
    """ValueError unless the stored arrays are as long as the levels require, which bounds the memory."""
    compressed, nodes = 0, 1
    for size in sizes:
        if size >= 0:
            nodes *= size
        elif len(arrays[compressed]) == nodes + 1:
            nodes = len(arrays[compressed + 1])
            compressed += 2
        else:
            raise ValueError
    if nodes != values or 0 in sizes:
        raise ValueError


def _sparsity(numbers: Sequence[int], rank: int) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    levels = numbers[0]
    order = numbers[1 : 1 + levels]
    blocks = numbers[1 + levels : 1 + levels + levels - rank]
    sizes = numbers[1 + levels + len(blocks) :]
    fits = sorted(order) == list(range(levels)) and len(sizes) == levels and all(0 <= axis < rank for axis in blocks)
    if not fits or levels < rank or len(set(blocks)) != len(blocks):
        raise ValueError
    return order, blocks, sizes
