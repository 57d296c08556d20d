"""Reads Parquet files that Python has opened, in the calling thread."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filterzoo.dataset.footers import LARGEST_GROUP, LONGEST, allowed, read_footer
from filterzoo.dataset.pages import check_pages, column_ranges
from filterzoo.errors import FilterZooError

_UNCHECKED_TEXTS = 128 << 20
"""Texts of up to this many bytes in memory are read without checking their length first."""


class ParquetFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types for it
    """A `pyarrow.parquet.ParquetFile` that uses none of Arrow's threads.

    Arrow's threads release Python objects some time after the result is returned. If Python is exiting by then, a
    thread cannot acquire the GIL, and the process aborts.

    The file is untrusted. FilterZooError before a row is read if the footer states a higher cost than any file of a
    release, or if page headers contradict the footer; and while rows are read if texts cost more. where: the file's
    name in errors. longest: bytes of the longest footer. largest_group: most bytes in memory of a row group, which
    tables of third parties may exceed.
    """

    def __init__(
        self,
        source: IO[bytes] | pa.NativeFile,
        *,
        where: str = "a file",
        longest: int = LONGEST,
        largest_group: int = LARGEST_GROUP,
    ) -> None:
        footer = read_footer(source, where, longest=longest, largest_group=largest_group)
        super().__init__(source, metadata=footer, pre_buffer=False)
        self._largest_group = largest_group
        self._where = where
        self._source = source
        self._size = source.seek(0, io.SEEK_END)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, of all columns or of some."""
        return self._read(range(self.num_row_groups), columns)

    def read_row_group(self, i: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Row group i, of all columns or of some."""
        return self._read([i], columns)

    def parts_of_row_group(self, i: int, rows: int) -> Iterator[pa.Table]:
        """Row group i, of all columns, at most `rows` rows at a time."""
        content = self._content([i], None)
        TextBudget(content, self.metadata, None, self._where).check(i)
        for batch in batches_of(content, self.metadata, i, self.schema_arrow.names, rows):
            yield pa.Table.from_batches([batch])

    def _read(self, groups: Sequence[int], columns: Sequence[str] | None) -> pa.Table:
        names = None if columns is None else list(columns)
        content = self._content(groups, names)
        texts = _texts(self.metadata, groups, names)
        dictionaries = list(texts) if _largest_total(texts) > _UNCHECKED_TEXTS else None
        file = pq.ParquetFile(
            pa.BufferReader(content), metadata=self.metadata, pre_buffer=False, read_dictionary=dictionaries
        )
        table = file.read_row_groups(list(groups), columns=names, use_threads=False)
        if dictionaries is None:
            return table
        # Read as dictionaries, so that the total length of all texts is known before they are expanded.
        most = min(allowed(self._size), self._largest_group * len(groups))
        _check_texts(sum(map(_length, table.columns)), most, self._where)
        schema = self.schema_arrow if names is None else pa.schema([self.schema_arrow.field(name) for name in names])
        return table.cast(schema)

    def _content(self, groups: Sequence[int], columns: list[str] | None) -> pa.Buffer:
        """A copy of the file with only these columns of the row groups, whose pages are checked.

        Unwritten bytes take no memory. Because it is a copy, the checked bytes cannot change.
        """
        buffer = pa.allocate_buffer(self._size)
        memory = memoryview(buffer).cast("B")
        for group in map(self.metadata.row_group, groups):
            for _, (begin, end) in column_ranges(group, columns, self._size, self._where):
                self._source.seek(begin)
                piece = self._source.read(end - begin)
                memory[begin : begin + len(piece)] = piece
            check_pages(memory, group, columns, self._where)
        return buffer


def batches_of(
    content: pa.Buffer, metadata: pq.FileMetaData, group: int, columns: Sequence[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Rows of a row group, `rows` at a time, read in the calling thread; call `TextBudget.check` first.

    content: the whole file; only `columns` need to be present.
    """
    with pq.ParquetFile(pa.BufferReader(content), metadata=metadata, pre_buffer=False) as file:
        yield from file.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False)


class TextBudget:
    """Checks the pages and texts of a file that the caller reads row group by row group, as `ParquetFile` does.

    content: the whole file; only `columns` need to be present (None: all).
    """

    def __init__(
        self, content: pa.Buffer, metadata: pq.FileMetaData, columns: Collection[str] | None, where: str
    ) -> None:
        self._content = content
        self._metadata = metadata
        self._columns = columns
        self._where = where
        self._most = self._taken = 0

    def check(self, group: int) -> None:
        """Call before reading row group `group`; FilterZooError for invalid pages, or if all texts are too long."""
        check_pages(memoryview(self._content).cast("B"), self._metadata.row_group(group), self._columns, self._where)
        texts = _texts(self._metadata, [group], self._columns)
        self._most += _largest_total(texts)
        if self._most <= _UNCHECKED_TEXTS:
            return
        file = pq.ParquetFile(self._content, metadata=self._metadata, pre_buffer=False, read_dictionary=list(texts))
        table = file.read_row_group(group, columns=list(texts), use_threads=False)
        own = sum(map(_length, table.columns))
        self._taken += own
        _check_texts(own, LARGEST_GROUP, self._where)
        _check_texts(self._taken, allowed(self._content.size), self._where)


def _texts(
    metadata: pq.FileMetaData, groups: Sequence[int], columns: Collection[str] | None = None
) -> dict[str, tuple[int, int]]:
    """Path of each text column, or of those in `columns` -> (bytes of its largest chunk, number of values)."""
    found: dict[str, tuple[int, int]] = {}
    for group in groups:
        row_group = metadata.row_group(group)
        for column in map(row_group.column, range(row_group.num_columns)):
            path = column.path_in_schema
            if column.physical_type == "BYTE_ARRAY" and (columns is None or path.split(".")[0] in columns):
                longest, values = found.get(path, (0, 0))
                found[path] = max(longest, column.total_uncompressed_size), values + column.num_values
    return found


def _largest_total(texts: Mapping[str, tuple[int, int]]) -> int:
    """Bytes that the texts take if the longest is in every row."""
    return sum(longest * values for longest, values in texts.values())


def _check_texts(taken: int, most: int, where: str) -> None:
    if taken > most:
        raise FilterZooError(f"{where}: its texts would take {taken:,} bytes in memory; no release's do")


def _length(column: pa.ChunkedArray) -> int:
    """Bytes of all texts of a column of dictionaries, or of lists of them; 0 for other columns."""
    total = 0
    for chunk in column.chunks:
        texts = chunk.flatten() if pa.types.is_list(chunk.type) else chunk
        if pa.types.is_dictionary(texts.type):
            lengths = pc.binary_length(texts.dictionary)
            total += pc.sum(pc.take(lengths, texts.indices).cast(pa.int64())).as_py() or 0
    return total
