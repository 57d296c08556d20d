"""Reads MATLAB's files (level 5, `-v6` and `-v7`) as data: cells, structs, texts, and the byte ranges of arrays.

The layout: "MAT-File Format" of MathWorks. A variable may be compressed by zlib as a whole: it is inflated once, from
start to end, and arrays are byte ranges of the inflated data.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from filterzoo import BrokenDataError, Codec, RandomAccessFile, Reason, Refused, Span, StoredRange, inflate
from filterzoo_plugins.encodings.expansion import check_expansion
from filterzoo_plugins.encodings.names import show

MAX_ELEMENTS = 300_000
"""Most arrays, cells and structs of one file."""
MAX_NESTING = 24
MAX_FIELDS = 2_000
MAX_TEXT = 1 << 16
MAX_AXES = 16
MAX_INLINE = 64
"""Arrays of up to this many bytes are read at once: strides, paddings, counts."""

MAGIC = b"MATLAB 5.0 MAT-file"
HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_DTYPES = {
    1: "I8",
    2: "U8",
    3: "I16",
    4: "U16",
    5: "I32",
    6: "U32",
    7: "F32",
    9: "F64",
    12: "I64",
    13: "U64",
}
_CODES = {"I8": "b", "U8": "B", "I16": "h", "U16": "H", "I32": "i", "U32": "I", "F32": "f", "F64": "d", "I64": "q"}
_CODES["U64"] = "Q"
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le", 18: "utf-32-le"}
_CELL, _STRUCT, _OBJECT, _CHARS, _SPARSE = 1, 2, 3, 4, 5
_NUMERIC = range(6, 16)
_COMPLEX = 0x08
_PIECE = 1 << 20


class NumericArray(NamedTuple):
    """An array in column-major order. numbers: the elements of a short array.

    stored_in: the compressed record that contains `span`.
    """

    shape: tuple[int, ...]
    dtype: str
    span: Span
    stored_in: tuple[StoredRange, ...]
    numbers: tuple[float, ...] = ()


class StructArray(NamedTuple):
    """An array of structs with the same fields, in column-major order."""

    items: tuple[dict[str, Value], ...]


class CellArray(NamedTuple):
    """A cell array, in column-major order."""

    items: tuple[Value, ...]


Value = NumericArray | StructArray | CellArray | str | None
"""None for values that are not read: functions, sparse and complex arrays, class instances."""


def variables(file: RandomAccessFile) -> Iterator[tuple[str, Value]]:
    """(name, value) of each variable; Refused (malformed) if lengths contradict each other."""
    if file.read(126, 2) != b"IM":
        raise Refused(Reason.UNSUPPORTED, "a MATLAB file with big-endian numbers", "byte 126")
    budget = _Budget()
    at = HEADER_BYTES
    while at < file.size:
        if file.size - at < 8:
            raise Refused(Reason.MALFORMED, "a variable that is cut off", f"byte {at}")
        kind, length = struct.unpack("<II", file.read(at, 8))
        if length > file.size - at - 8 or kind not in {_MATRIX, _COMPRESSED}:
            raise Refused(Reason.MALFORMED, f"a variable of {length} bytes and type {kind}", f"byte {at}")
        stream = _Packed(file, at + 8, length) if kind == _COMPRESSED else _Plain(file, at, at + 8 + length)
        yield _Parser(stream, budget).variable()
        stream.finish()
        at += 8 + length


@dataclass(slots=True)
class _Budget:
    elements: int = 0

    def spend(self, where: str) -> None:
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise Refused(Reason.LIMIT, f"more than {MAX_ELEMENTS} arrays, cells and structs", where)


class _Plain:
    """An uncompressed variable."""

    def __init__(self, file: RandomAccessFile, position: int, end: int) -> None:
        self._file = file
        self.position = position
        self.end = end
        self._buffer = b""
        self._base = position

    @property
    def where(self) -> str:
        return f"byte {self.position}"

    def take(self, length: int) -> bytes:
        begin = self.position - self._base
        if begin < 0 or begin + length > len(self._buffer):
            self._base, begin = self.position, 0
            self._buffer = self._file.read(self.position, min(max(length, 4096), self._file.size - self.position))
        self.position += length
        return self._buffer[begin : begin + length]

    def skip(self, length: int) -> None:
        self.position += length

    def place(self, length: int) -> tuple[Span, tuple[StoredRange, ...]]:
        """The location of the next bytes."""
        return Span(self.position, length), ()

    def finish(self) -> None:
        """Nothing to check."""


class _Packed:
    """A variable compressed by zlib."""

    def __init__(self, file: RandomAccessFile, offset: int, length: int) -> None:
        self._where = f"byte {offset}"
        pieces = (file.read(at, min(_PIECE, offset + length - at)) for at in range(offset, offset + length, _PIECE))
        self._inflated = inflate(pieces, zlib.MAX_WBITS)
        self._buffer = b""
        self.position = 0
        self.end = 8
        # The tag of its single element states the size.
        tag = self.take(8)
        self.end = 8 + int(struct.unpack("<I", tag[4:])[0])
        check_expansion(self.end, length, self._where)
        self._record = StoredRange(offset, length, self.end, Codec.ZLIB)
        self._buffer = tag + self._buffer
        self.position = 0

    @property
    def where(self) -> str:
        return f"{self._where}, {self.position} inflated"

    def take(self, length: int) -> bytes:
        while len(self._buffer) < length:
            self._buffer += self._next()
        data, self._buffer = self._buffer[:length], self._buffer[length:]
        self.position += length
        return data

    def skip(self, length: int) -> None:
        self.position += length
        while len(self._buffer) < length:
            length -= len(self._buffer)
            self._buffer = self._next()
        self._buffer = self._buffer[length:]

    def place(self, length: int) -> tuple[Span, tuple[StoredRange, ...]]:
        """The location of the next bytes in the inflated data."""
        return Span(self.position, length), (self._record,)

    def finish(self) -> None:
        """Inflate the rest, for its checksum; Refused (damaged) on a mismatch."""
        try:
            is_longer = bool(self._buffer) or any(self._inflated)
        except BrokenDataError as error:
            raise Refused(Reason.DAMAGED, str(error), self._where) from error
        if is_longer:
            raise Refused(Reason.MALFORMED, "a variable that is longer than it says", self._where)

    def _next(self) -> bytes:
        try:
            for piece in self._inflated:
                if piece:
                    return piece
        except BrokenDataError as error:
            raise Refused(Reason.DAMAGED, str(error), self._where) from error
        raise Refused(Reason.MALFORMED, "a variable that is cut off", self._where)


class _Parser:
    """Reads one variable from start to end."""

    def __init__(self, stream: _Plain | _Packed, budget: _Budget) -> None:
        self._stream = stream
        self._budget = budget

    def variable(self) -> tuple[str, Value]:
        name, value = self._matrix(self._stream.end, 0)
        return name, value

    def _tag(self, end: int) -> tuple[int, int, int]:
        """Type, length and padding of the next element."""
        if end - self._stream.position < 8:
            raise Refused(Reason.MALFORMED, "an element that is cut off", self._stream.where)
        raw = self._stream.take(4)
        kind, short = struct.unpack("<HH", raw)
        if short:  # four bytes at most, in the tag itself
            if short > 4:
                raise Refused(Reason.MALFORMED, f"a short element of {short} bytes", self._stream.where)
            return kind, short, 4 - short
        (length,) = struct.unpack("<I", self._stream.take(4))
        if length > end - self._stream.position:
            raise Refused(Reason.MALFORMED, f"an element of {length} bytes reaches past its parent", self._stream.where)
        padding = 0 if kind == _MATRIX else min(-length % 8, end - self._stream.position - length)
        return kind, length, padding

    def _small(self, end: int, most: int) -> tuple[int, bytes]:
        """A short element, read completely."""
        kind, length, padding = self._tag(end)
        if length > most:
            raise Refused(Reason.LIMIT, f"an element of {length} bytes where few belong", self._stream.where)
        content = self._stream.take(length)
        self._stream.skip(padding)
        return kind, content

    def _integers(self, end: int, most: int) -> tuple[int, ...]:
        kind, content = self._small(end, 4 * most)
        if kind not in {5, 6} or len(content) % 4:
            raise Refused(Reason.MALFORMED, "whole numbers of another type", self._stream.where)
        return struct.unpack(f"<{len(content) // 4}i", content)

    def _matrix(self, end: int, depth: int) -> tuple[str, Value]:
        """The next array, its tag included."""
        self._budget.spend(self._stream.where)
        kind, length, _ = self._tag(end)
        if kind != _MATRIX:
            raise Refused(Reason.MALFORMED, f"an element of type {kind} where an array belongs", self._stream.where)
        if depth > MAX_NESTING:
            raise Refused(Reason.LIMIT, f"arrays more than {MAX_NESTING} deep in each other", self._stream.where)
        inner = self._stream.position + length
        if not length:
            return "", None
        flags, *_ = self._integers(inner, 2) or (0,)
        class_ = flags & 0xFF
        value: Value = None
        name = ""
        if class_ != 17:  # an opaque object has no shape
            shape = self._integers(inner, MAX_AXES)
            if min(shape, default=0) < 0 or len(shape) < 2:
                raise Refused(Reason.MALFORMED, f"a shape of {shape}", self._stream.where)
            name = self._small(inner, MAX_TEXT)[1].decode("latin-1")
            value = self._value(class_, bool(flags >> 8 & _COMPLEX), shape, inner, depth)
        if self._stream.position > inner:
            raise Refused(Reason.MALFORMED, "an array that is longer than it says", show(name))
        self._stream.skip(inner - self._stream.position)
        return name, value

    def _value(self, class_: int, is_complex: bool, shape: tuple[int, ...], end: int, depth: int) -> Value:  # noqa: FBT001  # a flag of the file
        count = prod(shape)
        if class_ in _NUMERIC:
            return None if is_complex else self._numbers(shape, end)
        if class_ == _CHARS:
            kind, content = self._small(end, 4 * MAX_TEXT)
            return content.decode(_TEXTS.get(kind, "latin-1"), "replace")
        if class_ == _CELL:
            self._check_count(count, end)
            return CellArray(tuple(self._matrix(end, depth + 1)[1] for _ in range(count)))
        if class_ not in {_STRUCT, _OBJECT}:
            return None
        if class_ == _OBJECT:
            self._small(end, MAX_TEXT)
        fields = self._fields(end)
        self._check_count(count * len(fields), end)
        return StructArray(tuple({field: self._matrix(end, depth + 1)[1] for field in fields} for _ in range(count)))

    def _check_count(self, count: int, end: int) -> None:
        """Refused unless the bytes suffice: each array takes at least eight."""
        if count * 8 > end - self._stream.position:
            raise Refused(
                Reason.MALFORMED, f"{count} arrays in {end - self._stream.position} bytes"[:160], self._stream.where
            )

    def _fields(self, end: int) -> list[str]:
        length = next(iter(self._integers(end, 1)), 0)
        _, content = self._small(end, MAX_TEXT)
        if length < 1 or len(content) % length or len(content) // length > MAX_FIELDS:
            raise Refused(Reason.MALFORMED, f"names of fields of {length} bytes", self._stream.where)
        parts = [content[at : at + length] for at in range(0, len(content), length)]
        return [part.partition(b"\0")[0].decode("latin-1") for part in parts]

    def _numbers(self, shape: tuple[int, ...], end: int) -> NumericArray:
        kind, length, padding = self._tag(end)
        dtype = _DTYPES.get(kind)
        code = "" if dtype is None else _CODES[dtype]
        if dtype is None or prod(shape) * struct.calcsize(f"<{code}") != length:
            detail = f"{length} bytes of type {kind} for an array of shape {shape[:8]}"
            raise Refused(Reason.MALFORMED, detail[:160], self._stream.where)
        span, stored_in = self._stream.place(length)
        numbers: tuple[float, ...] = ()
        if length <= MAX_INLINE:
            numbers = struct.unpack(f"<{prod(shape)}{code}", self._stream.take(length))
        else:
            self._stream.skip(length)
        self._stream.skip(padding)
        return NumericArray(shape, dtype, span, stored_in, numbers)
