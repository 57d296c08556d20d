"""Row groups of published files, decoded batch by batch. Batches fit in the L2 cache."""

from __future__ import annotations

from collections.abc import Generator

import pyarrow as pa
import pyarrow.parquet as pq

from filterzoo.dataset.parquet import TextBudget, batches_of
from filterzoo.dataset.published import PublishedFiles
from filterzoo.dataset.sparse_copy import copied
from filterzoo.store.filters import BLOCK

_NUMBERS = 9 * 3 * BLOCK
"""Weights decoded at a time: 3.5 MB. Arrow doubles its buffer as it fills: a size just below 2**n copies the least."""


def batches(
    files: PublishedFiles, path: str, footer: pq.FileMetaData, group: int, columns: list[str]
) -> Generator[pa.RecordBatch]:
    """The rows of a row group of a file of `filters` in order, some _NUMBERS weights at a time.

    path: of the file in the data set; its footer was read before. From the Hub the columns come in one request.
    """
    found = footer.row_group(group)
    numbers: int = max(found.column(column).num_values for column in range(found.num_columns))
    rows = max(1, int(found.num_rows) * _NUMBERS // max(1, numbers))
    with files.native(path) if files.is_local else copied(files, path, found, columns) as file:
        content = file.read_buffer()
        TextBudget(content, footer, columns, f"{files.root}: {path}").check(group)
        yield from batches_of(content, footer, group, columns, rows)
