"""Reads Flax's msgpack files: nested maps of text, whose leaves are arrays in an extension type.

The layout: `flax.serialization`. An array is extension 1 (3 for a scalar): its shape, its type, its bytes in C order. A
large array is a map with its shape and its elements in consecutive flat parts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from typing import ClassVar

from filterzoo import (
    DTYPES,
    Context,
    Convolution,
    Format,
    Kind,
    Layout,
    NumberClass,
    RandomAccessFile,
    Reason,
    Refused,
    Span,
    Step,
    Tensor,
    Way,
    computed,
    hookimpl,
)
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.reading import SequentialReader
from filterzoo_plugins.formats.flax.msgpack import ItemHeader, MsgpackReader, Sort, starts_map_of_text

MAX_DEPTH = 64
MAX_RANK = 64
MAX_PARTS = 60
"""Most parts of one array: Flax writes a part for each GB."""

_ARRAY, _SCALAR = 1, 3
_TRUE = 0xC3
_CHUNKED = "__msgpack_chunked_array__"
_TRANSPOSED = re.compile(r"(^|/)ConvTranspose_\d+/kernel$")
_DTYPES = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "int64": "I64",
    "int32": "I32",
    "int16": "I16",
    "int8": "I8",
    "uint64": "U64",
    "uint32": "U32",
    "uint16": "U16",
    "uint8": "U8",
    "bool": "BOOL",
    "complex64": "C64",
    "complex128": "C128",
}


class Flax(Format):
    """A `.msgpack` file as Flax writes it. Other msgpack files have no such arrays and are refused."""

    name = "flax"
    framework: ClassVar[str | None] = "flax"

    def accepts(self, head: bytes, name: str) -> bool:
        """By a map whose first key is text and whose first value may contain arrays."""
        del name
        return starts_map_of_text(head)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every array in file order, named by its path with slashes."""
        reader = SequentialReader(file)
        found: dict[str, Tensor] = {}
        for tensor in _Walk(reader).arrays("", 0):
            if tensor.name in found:
                raise Refused(Reason.MALFORMED, "two arrays of one path", show(tensor.name))
            found[tensor.name] = tensor
        if reader.left:
            raise Refused(Reason.MALFORMED, "bytes behind the last value", f"byte {reader.position}")
        if not found:
            raise Refused(Reason.UNSUPPORTED, "a msgpack file without arrays as Flax writes them", "byte 0")
        return map(_with_class, found.values())


class _Walk:
    """One traversal of one file, from start to end."""

    def __init__(self, reader: SequentialReader) -> None:
        self.reader = reader
        self.values = MsgpackReader(reader)

    def arrays(self, path: str, depth: int) -> Iterator[Tensor]:
        """The arrays in the next value, whose path is `path`."""
        where = f"byte {self.reader.position}"
        head = self.values.head()
        if depth > MAX_DEPTH:
            raise Refused(Reason.LIMIT, f"maps more than {MAX_DEPTH} deep in each other", where)
        match head.sort:
            case Sort.MAP:
                yield from self._map(head.value, path, depth)
            case Sort.LIST:
                for place in range(head.value):
                    yield from self.arrays(_below(path, str(place)), depth + 1)
            case Sort.EXTENSION if head.extension in {_ARRAY, _SCALAR}:
                yield self._array(head, path)
            case Sort.TEXT | Sort.BYTES | Sort.EXTENSION:
                self.reader.skip(head.value)
            case _:
                pass

    def _map(self, entries: int, path: str, depth: int) -> Iterator[Tensor]:
        for place in range(entries):
            where = f"byte {self.reader.position}"
            key = self.values.text(self.values.head())
            if key == _CHUNKED:
                if place or entries != 3:
                    raise Refused(Reason.MALFORMED, "an array in parts among other entries", where)
                yield from self._in_parts(path)
                return
            yield from self.arrays(_below(path, key), depth + 1)

    def _array(self, head: ItemHeader, path: str) -> Tensor:
        """The extension's payload: a list of exactly shape, type and bytes."""
        end = self.reader.position + head.value
        where = show(path)
        self._expect(Sort.LIST, where, 3)
        rank = self._expect(Sort.LIST, where)
        if rank > MAX_RANK:
            raise Refused(Reason.LIMIT, f"{rank} axes; at most {MAX_RANK} are read", where)
        shape = tuple(self._side(where) for _ in range(rank))
        dtype = self.values.text(self.values.head())
        length = self._expect(Sort.BYTES, where)
        span = Span(self.reader.position, length)
        self.reader.skip(length)
        if self.reader.position != end:
            raise Refused(Reason.MALFORMED, "an array that is not as long as its extension", where)
        known = _DTYPES.get(dtype)
        if known is None:
            obstacle = f"numbers of type {show(dtype)}"
            place = Span(0, 0)
            return Tensor(name=path, dtype="F32", shape=shape, span=place, layout=_layout(shape), obstacle=obstacle)
        if length != prod(shape) * DTYPES[known].size:
            detail = f"{length} bytes do not hold {known} of shape {shape}"
            raise Refused(Reason.MALFORMED, detail[:160], where)
        return Tensor(name=path, dtype=known, shape=shape, span=span, layout=_layout(shape))

    def _in_parts(self, path: str) -> Iterator[Tensor]:
        """The rest of a large array after its marker: its shape, and its elements in flat parts."""
        where = show(path)
        if self.values.head().lead != _TRUE:
            raise Refused(Reason.MALFORMED, "an array in parts that says that it is none", where)
        shape = tuple(self._side(where) for _ in self._numbered("shape", MAX_RANK, where))
        parts: list[Tensor] = []
        for place in self._numbered("chunks", MAX_PARTS, where):
            head = self.values.head()
            if head.sort is not Sort.EXTENSION or head.extension != _ARRAY:
                raise Refused(Reason.MALFORMED, "a part that is no array", where)
            parts.append(self._array(head, _below(path, str(place))))
        dtypes = {part.dtype for part in parts}
        is_whole = len(dtypes) == 1 and all(len(part.shape) == 1 for part in parts)
        if not is_whole or sum(part.shape[0] for part in parts) != prod(shape):
            raise Refused(Reason.MALFORMED, f"parts that do not make shape {shape}"[:160], where)
        if DTYPES[dtypes.pop()].number_class is not NumberClass.FLOAT:
            yield from parts
            return
        flat = computed(path, (prod(shape),), Way.PACKED, Step.CONCATENATE, *parts, numbers=(0,))
        whole = computed(path, shape, Way.PACKED, Step.RESHAPE, flat, numbers=shape)
        yield replace(whole, layout=_layout(shape))

    def _numbered(self, key: str, most: int, where: str) -> Iterator[int]:
        """Iterates over a map with the keys "0", "1", ...: yields each index before its value is read."""
        if self.values.text(self.values.head()) != key:
            raise Refused(Reason.MALFORMED, f"an array in parts without {key}", where)
        count = self._expect(Sort.MAP, where)
        if count > most:
            raise Refused(Reason.LIMIT, f"{count} {key}; at most {most} are read", where)
        for place in range(count):
            if self.values.text(self.values.head()) != str(place):
                raise Refused(Reason.MALFORMED, f"{key} that are not numbered in order", where)
            yield place

    def _expect(self, sort: Sort, where: str, value: int | None = None) -> int:
        """The value of the next header, which must be of that sort."""
        head = self.values.head()
        if head.sort is not sort or (value is not None and head.value != value):
            raise Refused(Reason.MALFORMED, "an array that is not written as Flax does", where)
        return head.value

    def _side(self, where: str) -> int:
        side = self._expect(Sort.INTEGER, where)
        if side < 0:
            raise Refused(Reason.MALFORMED, f"a side of {side}", where)
        return side


def _below(path: str, key: str) -> str:
    return f"{path}/{key}" if path else key


def _layout(shape: tuple[int, ...]) -> Layout:
    """(*kernel, in/groups, out), Flax's layout of kernels."""
    return Layout.K_IO if 3 <= len(shape) <= 5 else Layout.OTHER


def _with_class(tensor: Tensor) -> Tensor:
    """The tensor, marked as transposed by its name.

    By default Flax names a module after its class; its transposed kernels are (*kernel, in, out) too.
    """
    is_kernel = tensor.layout is Layout.K_IO and _TRANSPOSED.search(tensor.name) is not None
    if not is_kernel:
        return tensor
    return replace(tensor, convolution=Convolution(kind=Kind.TRANSPOSED, context=Context.DECLARED))


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [Flax()]
