"""Parquet files that Python has opened, read in the calling thread."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq


class ParquetFile(pq.ParquetFile):  # type: ignore[misc]  # pyarrow has no types for it
    """A `pyarrow.parquet.ParquetFile` that uses none of Arrow's threads.

    They let go of what Python read for them some time after the result is there. Where Python has ended by then, the
    thread cannot have its lock any more, and the whole process is aborted.
    """

    def __init__(self, source: IO[bytes] | pa.NativeFile, *, metadata: pq.FileMetaData | None = None) -> None:
        super().__init__(source, metadata=metadata, pre_buffer=False)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows, of all columns or of some."""
        return super().read(columns=columns, use_threads=False)

    def read_row_group(self, i: int, columns: Sequence[str] | None = None) -> pa.Table:
        """Row group i, of all columns or of some."""
        return super().read_row_group(i, columns=columns, use_threads=False)

    def iter_batches(
        self, batch_size: int, row_groups: Sequence[int], columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Rows of these row groups, batch_size at a time, of all columns or of some."""
        batches: Iterator[pa.RecordBatch] = super().iter_batches(
            batch_size, row_groups=row_groups, columns=columns, use_threads=False
        )
        return batches
