"""A copy in memory of the wanted columns of a Parquet file on the Hub, with holes for the rest of the file.

Arrow reads ahead in its own threads. If the file is a Python object and Python exits meanwhile, the thread aborts the
process; reading a copy in memory does not need Python. Neighbouring byte ranges are fetched in one request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pds
import pyarrow.parquet as pq

from filterzoo.dataset.footers import END, TAIL, check_footer, footer_bytes
from filterzoo.dataset.pages import column_ranges
from filterzoo.dataset.published import PublishedFiles

_GAP = 1 << 16
"""Gaps up to this many bytes are read: another request would cost more."""


class SparseCopy:
    """A Parquet file of the data set: at first only its footer is read; `fetch` adds columns."""

    def __init__(self, files: PublishedFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._where = f"{files.root}: {path}"
        with files.native(path) as file:
            size = file.size()
            buffer, self._memory = _empty(size)
            tail = max(0, size - TAIL)
            _copy(file, self._memory, [(tail, size)])
            footer = max(0, size - footer_bytes(bytes(self._memory[-END:]), self._where))
            if footer < tail:
                _copy(file, self._memory, [(footer, tail)])
        self.fragment: pds.ParquetFileFragment = pds.ParquetFileFormat().make_fragment(buffer)
        """The fragment to read from; only fetched columns have content."""
        check_footer(self.fragment.metadata, size, self._where)

    def fetch(self, columns: Collection[str], condition: pc.Expression, schema: pa.Schema) -> pds.ParquetFileFragment:
        """Fetch columns of the row groups that may have rows under the condition; returns their fragment."""
        wanted = self.fragment.subset(condition, schema=schema)
        footer: pq.FileMetaData = self.fragment.metadata
        size = len(self._memory)
        groups = (footer.row_group(group.id) for group in wanted.row_groups)
        chunks = [place for group in groups for _, place in column_ranges(group, columns, size, self._where)]
        with self._files.native(self._path) as file:
            _copy(file, self._memory, chunks)
        return wanted


def copied(files: PublishedFiles, path: str, group: pq.RowGroupMetaData, columns: Collection[str]) -> pa.BufferReader:
    """A copy of the file with only these columns of a row group."""
    with files.native(path) as file:
        buffer, memory = _empty(file.size())
        places = column_ranges(group, columns, file.size(), f"{files.root}: {path}")
        _copy(file, memory, (place for _, place in places))
    return pa.BufferReader(buffer)


def _empty(size: int) -> tuple[pa.Buffer, memoryview]:
    """Memory that Arrow owns (its threads must not hold Python's memory), and a writable view of it.

    Unwritten pages take no memory.
    """
    buffer = pa.allocate_buffer(size)
    return buffer, memoryview(buffer).cast("B")


def _copy(file: pa.NativeFile, memory: memoryview, byte_ranges: Iterable[tuple[int, int]]) -> None:
    for begin, end in _merged(byte_ranges):
        memory[begin:end] = file.read_at(end - begin, begin)


def _merged(byte_ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sorted and merged byte ranges."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(byte_ranges):
        if merged and begin <= merged[-1][1] + _GAP:
            merged[-1] = merged[-1][0], max(merged[-1][1], end)
        else:
            merged.append((begin, end))
    return merged
