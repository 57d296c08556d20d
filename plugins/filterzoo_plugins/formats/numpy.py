"""Reads NumPy's npy and npz files: a strict parser for array headers, which are never evaluated.

The format: numpy.lib.format, versions 1.0 to 3.0. An array of objects is a pickle, whose arrays are read without
calling anything.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import ClassVar

from filterzoo import (
    DTYPES,
    Codec,
    Format,
    NumberClass,
    RandomAccessFile,
    Reason,
    Refused,
    Span,
    Step,
    StoredRange,
    Tensor,
    hookimpl,
)
from filterzoo_plugins.encodings.expansion import check_expansion
from filterzoo_plugins.encodings.folding import packed
from filterzoo_plugins.encodings.kernel_names import meaning_by_name
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.pickle.arrays import arrays_in, paged
from filterzoo_plugins.encodings.zip import ZipIndex, ZipMember

MAGIC = b"\x93NUMPY"
MAX_HEADER = 10_000
"""NumPy's own limit for headers."""
MAX_RANK = 64
FIRST_READ = 256
_STRUCTURE = "structure"
OBJECTS = "objects"
"""The dtype of an array that is a pickle."""
MAX_OBJECTS = 64 << 20
"""Most decoded bytes of a compressed array of objects."""

_DTYPE_NAMES = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "C64", "C128")
_DTYPE_OF = {DTYPES[name].numpy: name for name in _DTYPE_NAMES}
_TEXT_OR_TIME = re.compile(r"[<|][SUMm]\d+(\[\w+\])?")
_NATURAL = r"(?:0|[1-9]\d{0,18})L?"
_ITEM = re.compile(
    rf"""\s*(['"])(?P<key>descr|fortran_order|shape)\1\s*:\s*
    (?: (?: (['"])(?P<descr>[^'"\\]*)\3
          | (?P<order>True|False)
          | \((?P<shape>\s*|(?:\s*{_NATURAL}\s*,)+(?:\s*{_NATURAL})?\s*)\)
        )\s*(?:,\s*|(?=}}))
      | (?P<structure>[\[({{])
    )""",
    re.VERBOSE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """The header of an npy file; `dtype` is None for texts and dates."""

    dtype: str | None
    shape: tuple[int, ...]
    is_fortran: bool
    data_offset: int
    is_big: bool = False
    """Whether its elements are big-endian."""
    obstacle: str | None = None
    """Why its elements cannot be read."""


class Npy(Format):
    """A `.npy` file: one unnamed array, which is listed as `array`."""

    name = "npy"
    framework: ClassVar[str | None] = "numpy"

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic bytes."""
        del name
        return head.startswith(MAGIC)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """The array."""
        record = StoredRange(0, file.size, file.size)
        header = _read_header(file, record, "array")
        if header.obstacle is not None or header.dtype is None:
            detail = header.obstacle or "an array of text or times, not of numbers"
            raise Refused(Reason.UNSUPPORTED, detail, "array")
        if header.dtype == OBJECTS:
            found = list(arrays_in(paged(file), "", header.data_offset))
            if not found:
                raise Refused(Reason.UNSUPPORTED, "an array of Python objects without arrays of numbers", "array")
            yield from found
            return
        yield _tensor("array", header, header.dtype, record, is_alone=True)


class Npz(Format):
    """A `.npz` file: a zip of npy files, each an array named after its member without `.npy`."""

    name = "npz"
    framework: ClassVar[str | None] = "numpy"

    def accepts(self, head: bytes, name: str) -> bool:
        """A zip whose first member is an npy file."""
        del name
        name_length = int.from_bytes(head[26:28], "little")
        return head.startswith(b"PK\3\4") and head[30 : 30 + name_length].endswith(b".npy")

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """The numeric arrays, in the order of the zip's directory; other members have no weights."""
        archive = ZipIndex(file)
        archive.check_headers()  # a damaged name must not hide an array
        members = [member for member in archive.members.values() if member.name.endswith(".npy")]
        check_expansion(sum(member.size for member in members), file.size, "the whole file")
        is_told, objects = False, ""
        for member, offset in zip(members, archive.offsets(members), strict=True):
            record = archive.record(member, offset)
            check_expansion(member.size, member.length, show(member.name))
            header = _read_header(file, record, show(member.name))
            if _hides_a_weight(header):
                archive.check(member)
            name = member.name.removesuffix(".npy")
            if header.dtype == OBJECTS:
                found = _in_objects(archive, member, record, header)
                objects = objects or ("" if found else member.name)
            elif header.obstacle is not None:
                found = [_unread(name, header, header.obstacle)]
            else:
                found = [_tensor(name, header, header.dtype, record, is_alone=False)] if header.dtype else []
            is_told |= any(3 <= len(tensor.shape) <= 5 for tensor in found)
            yield from found
        if objects and not is_told:
            detail = "arrays of Python objects in which no arrays of numbers were found"
            raise Refused(Reason.UNSUPPORTED, detail, show(objects))


def _in_objects(archive: ZipIndex, member: ZipMember, record: StoredRange, header: ArrayHeader) -> list[Tensor]:
    """The arrays in an array of objects; one that cannot be read is listed with its obstacle."""
    name = member.name.removesuffix(".npy")
    try:
        return list(arrays_in(archive.read(member, MAX_OBJECTS), name, header.data_offset, record))
    except Refused as refusal:
        if refusal.reason is Reason.DAMAGED:
            raise
        return [_unread(name, header, f"an array of objects, a pickle that is not read: {refusal.detail}")]


def _unread(name: str, header: ArrayHeader, obstacle: str) -> Tensor:
    layout, convolution = meaning_by_name(name, header.shape)
    place = Span(0, 0)
    return Tensor(
        name=name,
        dtype="F32",
        shape=header.shape,
        span=place,
        layout=layout,
        convolution=convolution,
        obstacle=obstacle,
    )


def _hides_a_weight(header: ArrayHeader) -> bool:
    """Whether a convolution weight with one damaged character could look like this: then its CRC is checked now."""
    is_number = header.dtype in DTYPES
    is_float = is_number and DTYPES[header.dtype or ""].number_class is NumberClass.FLOAT
    return not is_float and 3 <= len(header.shape) <= 5


def _read_header(file: RandomAccessFile, record: StoredRange, where: str) -> ArrayHeader:
    head = _head(file, record, FIRST_READ, where)
    if head[:6] != MAGIC or len(head) < 10:
        raise Refused(Reason.MALFORMED, "not an npy array", where)
    if head[6:8] not in {b"\1\0", b"\2\0", b"\3\0"}:
        raise Refused(Reason.UNSUPPORTED, f"npy version {head[6]}.{head[7]}", where)
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > MAX_HEADER:
        raise Refused(Reason.LIMIT, f"an npy header of {length} bytes; at most {MAX_HEADER} are read", where)
    if start + length > len(head):
        head = _head(file, record, start + length, where)
    if start + length > len(head):
        raise Refused(Reason.MALFORMED, f"an npy header of {length} bytes in {record.size}", where)
    return _parse(head[start : start + length].decode("latin-1"), start + length, where)


def _head(file: RandomAccessFile, record: StoredRange, wanted: int, where: str) -> bytes:
    """The first decoded bytes of a record, at most `wanted`."""
    if record.codec is Codec.RAW:
        return file.read(record.offset, min(wanted, record.length))
    encoded = file.read(record.offset, min(2 * wanted + 1024, record.length))
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, wanted)
    except zlib.error as error:
        raise Refused(Reason.DAMAGED, f"broken compressed data: {error}", where) from error


def _parse(text: str, data_offset: int, where: str) -> ArrayHeader:
    """Parses the dict of a header, in exactly the form that NumPy writes."""
    found: dict[str, str] = {}
    at = 1
    while item := _ITEM.match(text, at):
        key, kind = item["key"], item.lastgroup or ""
        if kind == "structure" and key == "descr":
            at = text.find("'fortran_order'", item.end())
            if at < 0:
                raise Refused(Reason.UNSUPPORTED, "an array of structures", where)
            found[key] = _STRUCTURE
            continue
        if kind != {"fortran_order": "order"}.get(key, key) or key in found:
            raise Refused(Reason.MALFORMED, f"an npy header with a wrong or repeated {key}", where)
        found[key] = item[kind]
        at = item.end()
    if text[:1] != "{" or text[at:].rstrip() != "}" or len(found) != 3:
        raise Refused(Reason.MALFORMED, "an npy header that NumPy does not write", where)
    shape = tuple(int(side.strip().rstrip("L")) for side in found["shape"].split(",") if side.strip())
    if len(shape) > MAX_RANK:
        raise Refused(Reason.LIMIT, f"{len(shape)} axes; at most {MAX_RANK} are read", where)
    descr = found["descr"]
    is_big = descr.startswith(">") and f"<{descr[1:]}" in _DTYPE_OF
    dtype, obstacle = _dtype(f"<{descr[1:]}" if is_big else descr)
    return ArrayHeader(dtype, shape, found["fortran_order"] == "True", data_offset, is_big, obstacle)


def _dtype(descr: str) -> tuple[str | None, str | None]:
    """The dtype, and why its elements cannot be read if so; (None, None) for texts and dates."""
    if descr in _DTYPE_OF:
        return _DTYPE_OF[descr], None
    if _TEXT_OR_TIME.fullmatch(descr):
        return None, None
    if descr.endswith("O"):
        return OBJECTS, None
    return None, "an array of structures" if descr == _STRUCTURE else f"dtype {show(descr)}"


def _tensor(name: str, header: ArrayHeader, dtype: str, record: StoredRange, *, is_alone: bool) -> Tensor:
    if dtype == OBJECTS:
        raise Refused(Reason.UNSUPPORTED, "an array of Python objects, which is a pickle", show(name))
    length = prod(header.shape) * DTYPES[dtype].size
    if header.data_offset + length != record.size:
        available = record.size - header.data_offset
        raise Refused(Reason.MALFORMED, f"the array needs {length} bytes and has {available}", show(name))
    start = header.data_offset + (record.offset if record.codec is Codec.RAW else 0)
    layout, convolution = meaning_by_name(name, header.shape)
    whole = Tensor(
        name=name,
        dtype=dtype,
        shape=header.shape,
        span=Span(start, length),
        layout=layout,
        strides=_fortran_strides(header.shape) if header.is_fortran and len(header.shape) > 1 else None,
        stored_in=() if is_alone else (record,),
        convolution=convolution,
    )
    if not header.is_big:
        return whole
    swapped = packed(whole, header.shape, dtype, Step.SWAP, numbers=())
    return replace(swapped, layout=layout, convolution=convolution, evidence=None)


def _fortran_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides in elements, first axis fastest."""
    return tuple(prod(shape[:axis]) for axis in range(len(shape)))


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [Npy(), Npz()]
