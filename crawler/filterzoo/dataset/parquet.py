"""Parquet files that Python has opened, read in the calling thread."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filterzoo.dataset.footers import allowed, check_footer
from filterzoo.errors import FilterZooError

_CHEAP = 128 << 20
"""Bytes of texts in memory that are read at once without a look."""


class ParquetFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types for it
    """A `pyarrow.parquet.ParquetFile` that uses none of Arrow's threads.

    They let go of what Python read for them some time after the result is there. Where Python has ended by then, the
    thread cannot have its lock any more, and the whole process is aborted.

    The file may be hostile: FilterZooError, before a row is read, where its footer says that it costs more than a file
    of a release; while it is read, where its texts do. `where` names it then.
    """

    def __init__(
        self, source: IO[bytes] | pa.NativeFile, *, metadata: pq.FileMetaData | None = None, where: str = "a file"
    ) -> None:
        super().__init__(source, metadata=metadata, pre_buffer=False)
        self._where = where
        self._source = source
        self._allowed = 0
        if metadata is None:
            source.seek(0, io.SEEK_END)
            size = source.tell()
            check_footer(self.metadata, size, where)
            self._allowed = allowed(size)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, of all columns or of some."""
        return self._read(range(self.num_row_groups), columns)

    def read_row_group(self, i: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Row group i, of all columns or of some."""
        return self._read([i], columns)

    def _read(self, groups: Sequence[int], columns: Sequence[str] | None) -> pa.Table:
        names = None if columns is None else list(columns)
        texts = self._texts(groups)
        if sum(longest * values for longest, values in texts.values()) <= _CHEAP:
            return super().read_row_groups(list(groups), columns=names, use_threads=False)
        # Each different text once, and how long all are together is known before they are repeated.
        careful = pq.ParquetFile(self._source, metadata=self.metadata, pre_buffer=False, read_dictionary=list(texts))
        table = careful.read_row_groups(list(groups), columns=names, use_threads=False)
        taken = sum(map(_length, table.columns))
        if taken > self._allowed:
            raise FilterZooError(f"{self._where}: its texts would take {taken:,} bytes in memory; no release's do")
        schema = self.schema_arrow if names is None else pa.schema([self.schema_arrow.field(name) for name in names])
        return table.cast(schema)

    def _texts(self, groups: Sequence[int]) -> dict[str, tuple[int, int]]:
        """Path of each column of texts -> (bytes of its largest chunk, values)."""
        found: dict[str, tuple[int, int]] = {}
        for group in groups:
            row_group = self.metadata.row_group(group)
            for column in map(row_group.column, range(row_group.num_columns)):
                if column.physical_type == "BYTE_ARRAY":
                    longest, values = found.get(column.path_in_schema, (0, 0))
                    most = max(longest, column.total_uncompressed_size)
                    found[column.path_in_schema] = most, values + column.num_values
        return found

    def iter_batches(
        self, batch_size: int, row_groups: Sequence[int], columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of these row groups, batch_size at a time, of all columns or of some."""
        batches: Iterator[pa.RecordBatch] = super().iter_batches(
            batch_size, row_groups=row_groups, columns=columns, use_threads=False
        )
        return batches


def _length(column: pa.ChunkedArray) -> int:
    """Bytes of all texts of a column of dictionaries, or of lists of them; 0 for other columns."""
    total = 0
    for chunk in column.chunks:
        texts = chunk.flatten() if pa.types.is_list(chunk.type) else chunk
        if pa.types.is_dictionary(texts.type):
            lengths = pc.binary_length(texts.dictionary)
            total += pc.sum(pc.take(lengths, texts.indices).cast(pa.int64())).as_py() or 0
    return total
