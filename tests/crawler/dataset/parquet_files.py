"""Assembles Parquet files of one column by hand, so that pages and footer can state anything."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

Value = int | bytes | Mapping[int, "Value"] | Sequence["Value"]
PLAIN, DELTA, RLE, RLE_DICTIONARY = 0, 5, 3, 8
DATA, INDEX, DICTIONARY, DATA_V2 = 0, 1, 2, 3
INT64 = 2


class Long(int):
    """A number of 64 bits; others have 32."""


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def thrift(fields: Mapping[int, Value]) -> bytes:
    """A struct of Thrift's compact protocol."""
    out, last = b"", 0
    for field, value in fields.items():
        out += bytes([(field - last) << 4 | _kind(value)]) + _written(value)
        last = field
    return out + b"\0"


def _kind(value: Value) -> int:
    if isinstance(value, int):
        return 6 if isinstance(value, Long) else 5
    return 8 if isinstance(value, bytes) else 12 if isinstance(value, Mapping) else 9


def _written(value: Value) -> bytes:
    if isinstance(value, int):
        return varint(value << 1 if value >= 0 else (-value << 1) - 1)
    if isinstance(value, bytes):
        return varint(len(value)) + value
    if isinstance(value, Mapping):
        return thrift(value)
    return bytes([len(value) << 4 | _kind(value[0])]) + b"".join(map(_written, value))


def page(kind: int, head: Mapping[int, Value], content: bytes, *, whole: int | None = None) -> bytes:
    """A page of uncompressed content. whole: the bytes that it states, else those that it has."""
    place = {DATA: 5, INDEX: 6, DICTIONARY: 7, DATA_V2: 8}[kind]
    size = len(content) if whole is None else whole
    return thrift({1: kind, 2: size, 3: len(content), place: head}) + content


def data_page(values: int, content: bytes, *, encoding: int = PLAIN) -> bytes:
    """A page of a required column, which has no levels."""
    return page(DATA, {1: values, 2: encoding, 3: RLE, 4: RLE}, content)


def dictionary_page(entries: int, content: bytes) -> bytes:
    return page(DICTIONARY, {1: entries, 2: PLAIN}, content)


def file(
    pages: bytes, values: int, *, size: int | None = None, offset: int = 4, dictionary: int | None = None
) -> bytes:
    """A file with these pages as its one column `x`, int64 and required; what its footer states may be wrong."""
    places = {9: Long(offset)} if dictionary is None else {9: Long(offset), 11: Long(dictionary)}
    sizes = {6: Long(len(pages) if size is None else size), 7: Long(len(pages))}
    chunk: dict[int, Value] = {1: INT64, 2: [PLAIN], 3: [b"x"], 4: 0, 5: Long(values), **sizes, **places}
    schema: list[Value] = [{4: b"schema", 5: 1}, {1: INT64, 3: 0, 4: b"x"}]
    group: dict[int, Value] = {1: [{2: Long(4), 3: chunk}], 2: Long(len(pages)), 3: Long(values)}
    footer = thrift({1: 1, 2: schema, 3: Long(values), 4: [group]})
    return b"PAR1" + pages + footer + struct.pack("<I", len(footer)) + b"PAR1"
