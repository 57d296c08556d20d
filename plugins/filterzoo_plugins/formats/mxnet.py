"""Reads MXNet's parameter files: the NDArray lists written by `mx.nd.save`, Module and Gluon.

The layout: `NDArray::Save` and `NDArray::Load` in src/ndarray/ndarray.cc of MXNet 1.9. All numbers are little-endian:
magic bytes and 8 reserved bytes, the number of arrays, the arrays, the number of names, the names. MXNet 2 writes npz.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import ClassVar

from filterzoo import DTYPES, Format, Layout, RandomAccessFile, Reason, Refused, Span, Tensor, hookimpl
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.reading import SequentialReader

MAX_ARRAYS = 1_000_000
MAX_RANK = 64
MAX_NAME_BYTES = 1 << 16

_MAGIC = struct.pack("<QQ", 0x112, 0)
_FIRST, _SECOND, _THIRD = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
"""First fields of an array, by version: 64-bit sides; also a storage type; NumPy shapes.

Older versions have only a rank.
"""
_DENSE, _ROW_SPARSE, _CSR = 0, 1, 2
_INDEX_ARRAYS = {_DENSE: 0, _ROW_SPARSE: 1, _CSR: 2}
_DTYPES = ("F32", "F64", "F16", "U8", "I32", "I8", "I64", "BOOL", "I16", "U16", "U32", "U64", "BF16")
"""Indexed by MXNet's number of the type."""
_LEAST_ARRAY_BYTES, _LEAST_NAME_BYTES = 4, 8


class MXNet(Format):
    """A `.params` file, with or without names. Dense arrays are read; sparse arrays are listed as bytes."""

    name = "mxnet"
    framework: ClassVar[str | None] = "mxnet"

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic bytes of a list and the reserved zeros after them."""
        del name
        return head.startswith(_MAGIC)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every array with a shape, in file order; an array without a name is named by its index."""
        reader = SequentialReader(file, len(_MAGIC))
        arrays = [_array(reader) for _ in range(_count(reader, _LEAST_ARRAY_BYTES))]
        names = _names(reader, len(arrays))
        if reader.position != file.size:
            raise Refused(Reason.MALFORMED, "bytes behind the names", f"byte {reader.position}")
        named = [replace(array, name=name) for name, array in zip(names, arrays, strict=True) if array is not None]
        layout = _layout([tensor.shape for tensor in named if tensor.layout is not Layout.OTHER])
        return (_with_layout(tensor, layout) for tensor in named)


def _count(reader: SequentialReader, least: int) -> int:
    """The number of items that follow; Refused if the rest of the file is too short for them."""
    where = f"byte {reader.position}"
    count: int = reader.unpack("<Q")[0]
    if count * least > reader.left:
        raise Refused(Reason.MALFORMED, f"{count} items in {reader.left} bytes", where)
    if count > MAX_ARRAYS:
        raise Refused(Reason.LIMIT, f"{count} arrays; at most {MAX_ARRAYS} are read", where)
    return count


def _array(reader: SequentialReader) -> Tensor | None:
    """The next array, without its name; None for one without a shape, and so without elements."""
    where = f"byte {reader.position}"
    (magic,) = reader.unpack("<I")
    if magic not in {_SECOND, _THIRD}:
        sides = _sides(reader, reader.unpack("<i")[0], "q") if magic == _FIRST else _sides(reader, magic, "I")
        return _dense(reader, sides, where) if sides else None
    (storage,) = reader.unpack("<i")
    if storage not in _INDEX_ARRAYS:
        raise Refused(Reason.MALFORMED, f"storage type {storage}", where)
    stored = _shape(reader) if storage != _DENSE else None
    shape = _shape(reader, may_be_unknown=magic == _THIRD)
    if shape is None or (magic == _SECOND and not shape):
        return None
    if stored is None:
        return _dense(reader, shape, where)
    return _sparse(reader, stored, shape, _INDEX_ARRAYS[storage], where)


def _dense(reader: SequentialReader, shape: tuple[int, ...], where: str) -> Tensor:
    _skip_device(reader)
    dtype = _dtype(reader)
    span = _take(reader, prod(shape) * DTYPES[dtype].size, where)
    return Tensor(name="", dtype=dtype, shape=shape, span=span)


def _sparse(
    reader: SequentialReader, stored: tuple[int, ...] | None, shape: tuple[int, ...], index_arrays: int, where: str
) -> Tensor:
    """A sparse array, listed without its elements."""
    _skip_device(reader)
    dtype = _dtype(reader)
    length = prod(stored or ()) * DTYPES[dtype].size
    index_length = 0
    for _ in range(index_arrays):
        item = DTYPES[_dtype(reader)].size
        index_length += prod(_shape(reader) or ()) * item
    _take(reader, length, where)
    _take(reader, index_length, where)
    return Tensor(name="", dtype=dtype, shape=shape, span=Span(0, 0), obstacle="a sparse array")


def _shape(reader: SequentialReader, *, may_be_unknown: bool = False) -> tuple[int, ...] | None:
    """A rank and its 64-bit sides; None if the shape is unknown."""
    (rank,) = reader.unpack("<i")
    if rank == -1 and may_be_unknown:
        return None
    sides = _sides(reader, rank, "q", least=-1 if may_be_unknown else 0)
    return None if -1 in sides else sides


def _sides(reader: SequentialReader, rank: int, code: str, *, least: int = 0) -> tuple[int, ...]:
    where = f"byte {reader.position}"
    if rank < 0:
        raise Refused(Reason.MALFORMED, f"a rank of {rank}", where)
    if rank > MAX_RANK:
        raise Refused(Reason.LIMIT, f"{rank} axes; at most {MAX_RANK} are read", where)
    sides = reader.unpack(f"<{rank}{code}")
    if any(side < least for side in sides):
        raise Refused(Reason.MALFORMED, f"a shape of {sides}"[:160], where)
    return sides


def _skip_device(reader: SequentialReader) -> None:
    """Type and number of the device that an array was saved from (ignored)."""
    reader.unpack("<ii")


def _dtype(reader: SequentialReader) -> str:
    where = f"byte {reader.position}"
    (number,) = reader.unpack("<i")
    if not 0 <= number < len(_DTYPES):
        raise Refused(Reason.MALFORMED, f"type {number} is not read", where)
    return _DTYPES[number]


def _take(reader: SequentialReader, length: int, where: str) -> Span:
    if length > reader.left:
        raise Refused(Reason.MALFORMED, f"an array of {length} bytes where {reader.left} are left"[:160], where)
    span = Span(reader.position, length)
    reader.skip(length)
    return span


def _names(reader: SequentialReader, arrays: int) -> list[str]:
    """One name for each array, or its index if the file has no names."""
    where = f"byte {reader.position}"
    count = _count(reader, _LEAST_NAME_BYTES)
    if count not in {0, arrays}:
        raise Refused(Reason.MALFORMED, f"{count} names for {arrays} arrays", where)
    if count == 0:
        return [str(number) for number in range(arrays)]
    names: dict[str, None] = {}
    for _ in range(count):
        name = _name(reader)
        if name in names:
            raise Refused(Reason.MALFORMED, "two arrays of one name", show(name))
        names[name] = None
    return list(names)


def _name(reader: SequentialReader) -> str:
    where = f"byte {reader.position}"
    (length,) = reader.unpack("<Q")
    if length > MAX_NAME_BYTES:
        raise Refused(Reason.LIMIT, f"a name of {length} bytes; at most {MAX_NAME_BYTES} are read", where)
    try:
        return reader.take(length).decode()
    except UnicodeDecodeError as error:
        raise Refused(Reason.MALFORMED, "a name is not UTF-8", where) from error


def _layout(shapes: list[tuple[int, ...]]) -> Layout:
    """MXNet's default, (out, in/groups, *kernel), unless more kernels are regular as (out, *kernel, in).

    The file does not state the layout; channels-last networks have the latter, so shapes decide.
    """
    kernels = [shape for shape in shapes if 4 <= len(shape) <= 5]
    first = sum(len(set(shape[2:])) == 1 for shape in kernels)
    last = sum(len(set(shape[1:-1])) == 1 for shape in kernels)
    return Layout.OI_K if first >= last else Layout.OPEN


def _with_layout(tensor: Tensor, layout: Layout) -> Tensor:
    is_kernel = tensor.layout is not Layout.OTHER and 3 <= len(tensor.shape) <= 5
    return replace(tensor, layout=layout if is_kernel else Layout.OTHER)


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [MXNet()]
