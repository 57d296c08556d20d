"""TensorFlow's number types, and the messages for shapes and constants (tensor.proto)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod

from filterzoo import DTYPES, Layout, Reason, Refused, Span, Step, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import (
    FIXED32,
    FIXED64,
    VARINT,
    WireReader,
    length_tag,
    signed,
    varint_tag,
)

STRING = 7
DTYPES_BY_NUMBER = {
    1: "F32",
    2: "F64",
    3: "I32",
    4: "U8",
    5: "I16",
    6: "I8",
    8: "C64",
    9: "I64",
    10: "BOOL",
    14: "BF16",
    17: "U16",
    18: "C128",
    19: "F16",
    22: "U32",
    23: "U64",
    24: "F8_E5M2",
    25: "F8_E4M3",
}
"""DataType of types.proto, without text, handles, and quantised types, whose scales are stored elsewhere."""
MAX_RANK = 64
MAX_TEXTS = 200_000
_MAX_LIST = 64

_PACKED_FIELDS = {5: ("F32", FIXED32), 6: ("F64", FIXED64)}
"""float_val and double_val: plain numbers."""
_VARINT_FIELDS = {13: ("F16", "BF16"), 7: ("I32", "I16", "I8", "U8", "U16"), 10: ("I64",), 11: ("BOOL",)}
"""half_val, int_val, int64_val, bool_val: numbers as varints."""
_STRING_FIELD = 8


@dataclass(frozen=True, slots=True)
class StoredConstant:
    """A constant. numbers: offset, length and field of its data (4: tensor_content). texts: byte ranges."""

    name: str
    type: int
    shape: tuple[int, ...]
    numbers: tuple[int, int, int] | None
    texts: tuple[tuple[int, int], ...] = ()

    @property
    def dtype(self) -> str:
        """A key of `DTYPES`; Unfoldable for anything but numbers."""
        try:
            return DTYPES_BY_NUMBER[self.type]
        except KeyError:
            raise Unfoldable(f"numbers of TensorFlow's type {self.type}") from None

    def tensor(self) -> Tensor:
        """The array; a single number is broadcast. Unfoldable for other storage."""
        dtype, count = self.dtype, prod(self.shape)
        if self.numbers is None:
            raise Unfoldable("a constant without numbers, or with numbers in several fields")
        field, offset, length = self.numbers
        size = DTYPES[dtype].size
        if field == 4 or field in _PACKED_FIELDS:
            if field != 4 and _PACKED_FIELDS[field][0] != dtype:
                raise Unfoldable("numbers of another type than the constant's")
            whole = self._stored(dtype, self.shape, offset, length)
            if length == count * size:
                return whole
            if length == size and field != 4:
                return folding.spread(self._stored(dtype, (1,) * max(len(self.shape), 1), offset, length), self.shape)
            detail = f"{length} bytes for {count} numbers of {dtype}"
            raise Refused(Reason.MALFORMED, detail[:160], show(self.name))
        if dtype not in _VARINT_FIELDS.get(field, ()):
            raise Unfoldable("numbers of another type than the constant's")
        if length < count:
            raise Unfoldable("fewer numbers than the constant has")
        return folding.packed(
            self._stored("U8", (length,), offset, length), self.shape, dtype, Step.VARINTS, numbers=()
        )

    def integers(self, reader: WireReader) -> list[int]:
        """The elements of a short list; Unfoldable for anything else. A single number is broadcast."""
        count, dtype = prod(self.shape), DTYPES_BY_NUMBER.get(self.type, "")
        code = {"I32": "i", "I64": "q"}.get(dtype)
        if code is None or self.numbers is None or count > _MAX_LIST:
            raise Unfoldable("a shape or axes that are no short list of whole numbers")
        field, offset, length = self.numbers
        if field == 4:
            if length != count * DTYPES[dtype].size:
                raise Unfoldable("a list of another length than it states")
            return list(struct.unpack(f"<{count}{code}", reader.read(offset, length)))
        if dtype not in _VARINT_FIELDS.get(field, ()) or length > 10 * _MAX_LIST:
            raise Unfoldable("a shape or axes that are no short list of whole numbers")
        found = [signed(value) for value in reader.varints(offset, length, _MAX_LIST)]
        if len(found) not in {1, count}:
            raise Unfoldable("a list of another length than it states")
        return found * count if len(found) == 1 else found

    def _stored(self, dtype: str, shape: tuple[int, ...], offset: int, length: int) -> Tensor:
        return Tensor(name=self.name, dtype=dtype, shape=shape, span=Span(offset, length), layout=Layout.OTHER)


def read_shape(reader: WireReader, start: int, end: int, where: str) -> tuple[int, ...] | None:
    """A TensorShapeProto, -1 for an unknown side; None for an unknown rank. Refused for too many axes."""
    sides: list[int] = []
    is_ranked = True
    for tag, value, offset in reader.fields(start, end):
        if tag == length_tag(2):
            side = 0
            for inner, number, _ in reader.fields(offset, offset + value):
                if inner == varint_tag(1):
                    side = max(signed(number), -1)
            sides.append(side)
            if len(sides) > MAX_RANK:
                raise Refused(Reason.LIMIT, f"more than {MAX_RANK} axes", where)
        elif tag == varint_tag(3) and value:
            is_ranked = False
    return tuple(sides) if is_ranked else None


def read_numbers(reader: WireReader, start: int, end: int, name: str) -> StoredConstant:
    """A TensorProto without its data. Data in several fields are not located."""
    kind = 0
    shape: tuple[int, ...] = ()
    found: list[tuple[int, int, int]] = []
    texts: list[tuple[int, int]] = []
    for tag, value, offset in reader.fields(start, end):
        field, wire = tag >> 3, tag & 7
        if tag == varint_tag(1):
            kind = value
        elif tag == length_tag(2):
            known = read_shape(reader, offset, offset + value, show(name))
            if known is None or -1 in known:
                raise Refused(Reason.MALFORMED, "a constant without a shape", show(name))
            shape = known
        elif tag == length_tag(_STRING_FIELD):
            if len(texts) >= MAX_TEXTS:
                raise Refused(Reason.LIMIT, f"more than {MAX_TEXTS} texts in a constant", show(name))
            texts.append((offset, value))
        elif len(found) > 1:
            continue
        elif wire == VARINT and field in _VARINT_FIELDS:
            found.append((field, offset - _width(value), _width(value)))
        elif (tag == length_tag(4) and value) or field in _PACKED_FIELDS or field in _VARINT_FIELDS:
            found.append((field, offset, value))
    return StoredConstant(name, kind, shape, found[0] if len(found) == 1 else None, tuple(texts))


def _width(value: int) -> int:
    """Number of bytes of a varint in its shortest form."""
    return max(1, (value.bit_length() + 6) // 7)
