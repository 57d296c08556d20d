"""TensorProto: a named array of an ONNX file, and the byte range of its elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from filterzoo import DTYPES, Layout, Reason, Refused, Span, Step, Tensor, check_side_name
from filterzoo_plugins.encodings.folding import packed
from filterzoo_plugins.encodings.protobuf import (
    WireReader,
    fixed32_tag,
    fixed64_tag,
    length_tag,
    signed,
    varint_tag,
)

MAX_RANK = 64
"""Most axes of an array; ONNX sets no limit, NumPy's is 64."""
MAX_NUMBERS = 1 << 16
"""Longest constant that is read as numbers: scales, zero points, axes, shapes. None is longer than the channels of a
layer.
"""

DTYPES_OF_ONNX = {
    1: "F32",
    2: "U8",
    3: "I8",
    4: "U16",
    5: "I16",
    6: "I32",
    7: "I64",
    9: "BOOL",
    10: "F16",
    11: "F64",
    12: "U32",
    13: "U64",
    14: "C64",
    15: "C128",
    16: "BF16",
    17: "F8_E4M3",
    18: "F8_E4M3FNUZ",
    19: "F8_E5M2",
    20: "F8_E5M2FNUZ",
    24: "F8_E8M0",
}
"""TensorProto.DataType under safetensors' names. The others are strings (8) and types smaller than a byte."""
_BITS_BELOW_BYTE = {21: 4, 22: 4, 23: 4, 25: 2, 26: 2}
_SMALL_INTEGERS = {21: (4, False), 22: (4, True), 25: (2, False), 26: (2, True)}
"""UINT4, INT4, UINT2, INT2: number of bits, and whether they are signed."""


class _Tag:
    """Fields of TensorProto, SparseTensorProto and StringStringEntryProto (onnx.proto)."""

    DIM = varint_tag(1)
    DIMS = length_tag(1)
    DATA_TYPE = varint_tag(2)
    SEGMENT = length_tag(3)
    STRING_DATA = length_tag(6)
    NAME = length_tag(8)
    RAW_DATA = length_tag(9)
    EXTERNAL_DATA = length_tag(13)
    DATA_LOCATION = varint_tag(14)
    SPARSE_VALUES = length_tag(1)
    SPARSE_DIM = varint_tag(3)
    SPARSE_DIMS = length_tag(3)
    KEY = length_tag(1)
    ENTRY_VALUE = length_tag(2)


_DTYPES_OF_FLOATS: dict[int, tuple[str, ...]] = {length_tag(4): ("F32", "C64"), length_tag(10): ("F64", "C128")}
_DTYPES_OF_FLOATS |= {fixed32_tag(4): ("F32",), fixed64_tag(10): ("F64",)}
"""float_data and double_data: in a single field, they are the array's own bytes."""
_PACKED_VARINTS = {length_tag(5), length_tag(7), length_tag(11)}
"""int32_data, int64_data and uint64_data."""
_SINGLE_VARINTS = {varint_tag(5), varint_tag(7), varint_tag(11)}
_TYPED_DATA = {*_DTYPES_OF_FLOATS, *_PACKED_VARINTS, *_SINGLE_VARINTS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """An initializer or a Constant's value.

    offset: of its message, which identifies the array. dtype: a key of DTYPES; U8, with the shape in bytes, for strings
    and types smaller than a byte. span: the elements as little-endian bytes in C order; None if they are packed.
    packed: a computed tensor that unpacks them. varints: (offset, length), where they are packed as varints. literal:
    the elements, if they are few and inline in the graph. obstacle: why no convolution can read it.
    """

    name: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    span: Span | None = None
    packed: Tensor | None = None
    varints: tuple[int, int] | None = None
    literal: tuple[float, ...] | None = None
    obstacle: str | None = None

    @property
    def count(self) -> int:
        """The number of elements."""
        return prod(self.shape)


@dataclass(slots=True)
class _Draft:
    """The fields read so far of a TensorProto."""

    start: int
    dims: list[int] = field(default_factory=list)
    data_type: int = 0
    name: tuple[int, int] | None = None
    raw: tuple[int, int] | None = None
    typed: tuple[int, int, int] | None = None
    typed_fields: int = 0
    singles: list[int] = field(default_factory=list)
    entries: list[tuple[int, int]] = field(default_factory=list)
    external: bool = False
    odd: str | None = None


def read_array(reader: WireReader, start: int, end: int) -> Array:
    """The TensorProto in [start, end), without its elements.

    Refused if dims, type and data contradict each other (malformed), for duplicate data or a path outside the folder
    (unsafe), or for too many parts (limit).
    """
    draft = _Draft(start)
    for tag, value, offset in reader.fields(start, end):
        _take(draft, reader, tag, value, offset)
    name = reader.text(*draft.name) if draft.name else ""
    where = ascii(name)[:80] if name else f"byte {start}"
    shape = tuple(signed(dim) for dim in draft.dims)
    if any(dim < 0 for dim in shape):
        raise Refused(Reason.MALFORMED, f"an array of negative size: {shape[:8]}", where)
    if draft.external:
        return _external(reader, draft, name, shape, where)
    return _internal(draft, name, shape, where)


def read_sparse_array(reader: WireReader, start: int, end: int) -> Array:
    """The SparseTensorProto in [start, end), under the name of its values; no convolution can read it."""
    name, dims = "", list[int]()
    for tag, value, offset in reader.fields(start, end):
        if tag == _Tag.SPARSE_VALUES:
            name = read_array(reader, offset, offset + value).name
        elif tag == _Tag.SPARSE_DIMS:
            dims.extend(reader.varints(offset, value, MAX_RANK))
        elif tag == _Tag.SPARSE_DIM and len(dims) < MAX_RANK:
            dims.append(value)
    return Array(
        name=name,
        offset=start,
        dtype="U8",
        shape=(end - start,),
        span=Span(start, end - start),
        obstacle=f"a sparse array of shape {tuple(dims)} is not read",
    )


def _take(draft: _Draft, reader: WireReader, tag: int, value: int, offset: int) -> None:
    """Add one field of a TensorProto to the draft."""
    match tag:
        case _Tag.DIM | _Tag.DIMS:
            draft.dims += [value] if tag == _Tag.DIM else reader.varints(offset, value, MAX_RANK)
        case _Tag.DATA_TYPE:
            draft.data_type = value
        case _Tag.NAME:
            draft.name = _once(draft.name, offset, value)
        case _Tag.RAW_DATA:
            draft.raw = _once(draft.raw, offset, value)
        case _Tag.EXTERNAL_DATA:
            draft.entries.append((offset, value))
        case _Tag.DATA_LOCATION:
            draft.external = value == 1
        case _Tag.SEGMENT:
            draft.odd = "an array that is stored in segments is not read"
        case _ if tag in _TYPED_DATA:
            draft.typed = (tag, offset, value)
            draft.typed_fields += 1
            draft.singles += [value] if tag in _SINGLE_VARINTS and len(draft.singles) < MAX_NUMBERS else []
    if len(draft.dims) > MAX_RANK or len(draft.entries) > MAX_RANK:
        raise Refused(Reason.LIMIT, f"an array with more than {MAX_RANK} dims or external entries", f"byte {offset}")


def _once(known: tuple[int, int] | None, offset: int, length: int) -> tuple[int, int]:
    if known is not None:
        raise Refused(Reason.UNSAFE, "an array's name or data is written twice", f"byte {offset}")
    return offset, length


def _internal(draft: _Draft, name: str, shape: tuple[int, ...], where: str) -> Array:
    """An array whose elements are in the file itself."""
    dtype = DTYPES_OF_ONNX.get(draft.data_type, "")
    if draft.raw and draft.raw[1] and draft.typed:
        raise Refused(Reason.MALFORMED, "an array has two sets of data", where)
    if draft.raw and (draft.raw[1] or not draft.typed):
        return _of_bytes(draft, name, shape, Span(*draft.raw), where)
    if draft.typed is None:
        if dtype and 0 not in shape:
            raise Refused(Reason.MALFORMED, f"an array of shape {shape[:8]} has no data", where)
        return _opaque(draft, name, draft.odd or f"an array of type {draft.data_type} is not read")
    tag, offset, length = draft.typed
    if tag in _DTYPES_OF_FLOATS and draft.typed_fields == 1 and dtype in _DTYPES_OF_FLOATS[tag]:
        return _of_bytes(draft, name, shape, Span(offset, length), where)
    obstacle = "its numbers are written one by one, not as raw_data"
    if tag in _PACKED_VARINTS and draft.typed_fields == 1:
        array = _of_varints(draft, name, shape, (offset, length))
        if array is not None:
            return array
    if draft.typed_fields == len(draft.singles) and dtype[:1] in {"I", "U"}:
        literal = tuple(signed(single) for single in draft.singles)
        return Array(name=name, offset=draft.start, dtype=dtype, shape=shape, literal=literal, obstacle=obstacle)
    return _opaque(draft, name, obstacle)


def _of_varints(draft: _Draft, name: str, shape: tuple[int, ...], place: tuple[int, int]) -> Array | None:
    """An array in int32_data, int64_data or uint64_data; types smaller than a byte are packed in bytes first."""
    words = Tensor(name=name, dtype="U8", shape=(place[1],), span=Span(*place), layout=Layout.OTHER)
    dtype = DTYPES_OF_ONNX.get(draft.data_type, "")
    if dtype and DTYPES[dtype].size <= 8:
        tensor = packed(words, shape, dtype, Step.VARINTS, numbers=())
        return Array(name=name, offset=draft.start, dtype=dtype, shape=shape, packed=tensor, varints=place)
    if draft.data_type not in _SMALL_INTEGERS:
        return None
    bits, _ = _SMALL_INTEGERS[draft.data_type]
    content = packed(words, ((prod(shape) * bits + 7) // 8,), "U8", Step.VARINTS, numbers=())
    return _of_few_bits(draft, name, shape, content)


def _of_few_bits(draft: _Draft, name: str, shape: tuple[int, ...], content: Tensor) -> Array:
    bits, is_signed = _SMALL_INTEGERS[draft.data_type]
    dtype = "I8" if is_signed else "U8"
    tensor = packed(content, shape, dtype, Step.BITS, numbers=(bits, int(is_signed)))
    return Array(name=name, offset=draft.start, dtype=dtype, shape=shape, packed=tensor)


def _of_bytes(draft: _Draft, name: str, shape: tuple[int, ...], span: Span, where: str) -> Array:
    """An array stored in one byte range, whose length must match dims and type."""
    dtype = DTYPES_OF_ONNX.get(draft.data_type, "")
    bits = DTYPES[dtype].size * 8 if dtype else _BITS_BELOW_BYTE.get(draft.data_type)
    if bits is None:
        return _opaque(draft, name, f"an array of type {draft.data_type} is not read", span)
    needed = (prod(shape) * bits + 7) // 8
    if span.length != needed:
        detail = f"an array of shape {shape[:8]} needs {needed} bytes and has {span.length}"
        raise Refused(Reason.MALFORMED, detail, where)
    if not dtype and draft.data_type in _SMALL_INTEGERS and not draft.odd:
        content = Tensor(name=name, dtype="U8", shape=(span.length,), span=span, layout=Layout.OTHER)
        return _of_few_bits(draft, name, shape, content)
    if not dtype:
        return _opaque(draft, name, "floats smaller than a byte are not read", span)
    return Array(name=name, offset=draft.start, dtype=dtype, shape=shape, span=span, obstacle=draft.odd)


def _opaque(draft: _Draft, name: str, obstacle: str, span: Span | None = None) -> Array:
    """An array that is only listed, as bytes."""
    span = span or Span(draft.start, 0)
    return Array(
        name=name, offset=draft.start, dtype="U8", shape=(span.length,), span=span, obstacle=draft.odd or obstacle
    )


def _external(reader: WireReader, draft: _Draft, name: str, shape: tuple[int, ...], where: str) -> Array:
    """An array whose elements are in a side file (onnx/docs/ExternalData.md of ONNX)."""
    if draft.typed or (draft.raw and draft.raw[1]):
        raise Refused(Reason.MALFORMED, "an array has its data both inside and outside", where)
    entries = dict[str, str]()
    for start, length in draft.entries:
        key, text = _entry(reader, start, length)
        if key in entries:
            raise Refused(Reason.UNSAFE, f"external data name {ascii(key)[:40]} twice", where)
        entries[key] = text
    if "location" not in entries:
        raise Refused(Reason.MALFORMED, "external data without a location", where)
    location = "/".join(step for step in entries["location"].split("/") if step != ".")
    check_side_name(location)
    offset = _whole_number(entries.get("offset", "0"), where)
    dtype = DTYPES_OF_ONNX.get(draft.data_type, "")
    bits = DTYPES[dtype].size * 8 if dtype else _BITS_BELOW_BYTE.get(draft.data_type, 0)
    needed = (prod(shape) * bits + 7) // 8
    length = _whole_number(entries.get("length", str(needed)), where)
    return _of_bytes(draft, name, shape, Span(offset, length, location), where)


def _entry(reader: WireReader, start: int, length: int) -> tuple[str, str]:
    key = text = ""
    for tag, value, offset in reader.fields(start, start + length):
        if tag == _Tag.KEY:
            key = reader.text(offset, value)
        elif tag == _Tag.ENTRY_VALUE:
            text = reader.text(offset, value)
    return key, text


def _whole_number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused(Reason.MALFORMED, f"external data are not placed by a whole number: {ascii(text)[:40]}", where)
    return int(text)
