"""Compares the page headers of a Parquet file with its footer, before any page is decoded.

A reader allocates memory by the counts that a page header states. Twenty bytes of run-length encoding can stand for two
billion values, so checking the footer (`footers`) is not enough if page headers state other counts. Page headers are
Thrift structs in the compact protocol: https://github.com/apache/parquet-format, `parquet.thrift`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow.parquet as pq

from filterzoo.dataset.footers import WIDTHS
from filterzoo.errors import FilterZooError

_SMALLEST_ENTRY = 4
"""Smallest dictionary entry in bytes: the length of a text, or a number."""
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_ENCODINGS = frozenset({0, 2, 3, 8, 9})
"""Plain, dictionary (two codes), run-length and byte stream split: other encodings contain further counts."""
_LEVELS = frozenset({3, 4})
"""Encodings of the levels of a page: run-length, and the deprecated one, which is stated if there are no levels."""
_SMALLEST_PAGE = 4 << 10
_FREE_PAGES = 64
"""A chunk has at most this many pages, plus one for each `_SMALLEST_PAGE` of its bytes."""
_INT32 = (1 << 31) - 1
_BOOLEANS, _INTEGERS, _BINARY, _STRUCT = frozenset({1, 2}), frozenset({5, 6}), 8, 12
"""Types of Thrift's compact protocol."""
_DEPTH = 2
"""Nesting depth of structs in a page header: the header, and the statistics in it."""
_MORE, _LAST = 0x80, 63


def column_ranges(
    group: pq.RowGroupMetaData, columns: Collection[str] | None, size: int, where: str
) -> Iterator[tuple[pq.ColumnChunkMetaData, tuple[int, int]]]:
    """Column chunks of `columns` (None: all) in a row group that hold values, each with its byte range (begin, end).

    size: bytes of the file. FilterZooError for one outside the file.
    """
    for number in range(group.num_columns):
        chunk = group.column(number)
        if not chunk.num_values or (columns is not None and chunk.path_in_schema.split(".")[0] not in columns):
            continue
        first, dictionary = chunk.data_page_offset, chunk.dictionary_page_offset
        begin = first if dictionary is None else dictionary
        end = begin + chunk.total_compressed_size
        if not 0 <= begin < end <= size or (dictionary is not None and dictionary >= first):
            raise FilterZooError(
                f"{where}: its footer says that a column is where it cannot be; it is damaged or hostile"
            )
        yield chunk, (begin, end)


def check_pages(content: memoryview, group: pq.RowGroupMetaData, columns: Collection[str] | None, where: str) -> None:
    """FilterZooError unless the totals of the page headers of these columns equal those in the footer.

    content: the whole file; only these columns need to be present.
    """
    for chunk, (begin, end) in column_ranges(group, columns, len(content), where):
        _check_chunk(content[begin:end], chunk, where)


def _check_chunk(content: memoryview, chunk: pq.ColumnChunkMetaData, where: str) -> None:
    try:
        stated = _stated(content, chunk)
    except (_InvalidHeader, IndexError) as error:
        message = str(error) if isinstance(error, _InvalidHeader) else "ends within the head of a page"
        raise FilterZooError(
            f"{where}: {ascii(chunk.path_in_schema)[:80]} {message}; it is damaged or hostile"
        ) from None
    if stated != (chunk.num_values, chunk.total_uncompressed_size, len(content)):
        raise FilterZooError(
            f"{where}: the pages of {ascii(chunk.path_in_schema)[:80]} state {stated[0]:,} values in {stated[1]:,} "
            f"bytes, its footer {chunk.num_values:,} in {chunk.total_uncompressed_size:,}; it is damaged or hostile"
        )


def _stated(content: memoryview, chunk: pq.ColumnChunkMetaData) -> tuple[int, int, int]:
    """(values, bytes, compressed bytes) of all pages together, headers included."""
    width = WIDTHS.get(chunk.physical_type, _SMALLEST_ENTRY)
    values = unpacked = pages = offset = 0
    most = _FREE_PAGES + chunk.total_uncompressed_size // _SMALLEST_PAGE
    while offset < len(content):
        page, begin = _Struct.read(content, offset)
        kind, whole, packed = page.number(1), page.number(2), page.number(3)
        values += _values(page, kind, whole, width, is_first=not pages)
        pages += 1
        unpacked += begin - offset + whole
        offset = begin + packed
        if pages > most:
            raise _InvalidHeader(f"has more than {most} pages")
    return values, unpacked, offset


def _values(page: _Struct, kind: int, whole: int, width: int, *, is_first: bool) -> int:
    """The number of values a page adds to its column; _InvalidHeader for anything that no release writes."""
    if kind == _DICTIONARY:
        dictionary = page.struct(7)
        if not is_first or dictionary.number(2) not in _ENCODINGS or dictionary.number(1) * width > whole:
            raise _InvalidHeader("has a dictionary of more entries than bytes, or in a wrong place")
        return 0
    if kind == _DATA:
        head = page.struct(5)
        encodings, levels = {head.number(2)}, {head.number(3), head.number(4)}
    elif kind == _DATA_V2:
        head = page.struct(8)
        encodings, levels = {head.number(4)}, set[int]()
        if head.number(5) + head.number(6) > whole or max(head.number(2), head.number(3)) > head.number(1):
            raise _InvalidHeader("has a page of more levels than values")
    else:
        raise _InvalidHeader(f"has a page of kind {kind}")
    if not (encodings <= _ENCODINGS and levels <= _LEVELS):
        raise _InvalidHeader("is encoded in another way than those of releases")
    return head.number(1)


class _InvalidHeader(Exception):
    """Raised for a page header that no release contains."""


class _Struct(dict[int, "int | _Struct | None"]):
    """The fields of a Thrift struct by field number: integers and structs, None for texts."""

    def number(self, field: int) -> int:
        """A required integer field, from 0 to 2^31 - 1."""
        value = self.get(field)
        if not isinstance(value, int) or not 0 <= value <= _INT32:
            raise _InvalidHeader("has a page that states no count or an impossible one")
        return value

    def struct(self, field: int) -> _Struct:
        """A required struct field."""
        value = self.get(field)
        if not isinstance(value, _Struct):
            raise _InvalidHeader("has a page without its head")
        return value

    @classmethod
    def read(cls, data: memoryview, offset: int, depth: int = 0) -> tuple[_Struct, int]:
        """(the struct, the offset after it); _InvalidHeader or IndexError for anything that no writer produces.

        Fields must be sorted and unique, so that all readers see the same value.
        """
        found, field = cls(), 0
        while head := data[offset]:
            offset += 1
            kind, step = head & 15, head >> 4
            if not step:
                raise _InvalidHeader("has a page whose head is out of order")
            field += step
            if kind in _BOOLEANS:
                found[field] = int(kind == min(_BOOLEANS))
            elif kind in _INTEGERS:
                number, offset = _varint(data, offset)
                found[field] = (number >> 1) ^ -(number & 1)
            elif kind == _BINARY:
                length, offset = _varint(data, offset)
                offset += length
                found[field] = None
            elif kind == _STRUCT and depth < _DEPTH:
                found[field], offset = cls.read(data, offset, depth + 1)
            else:
                raise _InvalidHeader("has a page whose head is of another shape")
        return found, offset + 1


def _varint(data: memoryview, offset: int) -> tuple[int, int]:
    number = shift = 0
    while (byte := data[offset]) >= _MORE:
        number |= (byte - _MORE) << shift
        shift += 7
        offset += 1
        if shift > _LAST:
            raise _InvalidHeader("has a page with a number of more than 64 bits")
    return number | byte << shift, offset + 1
