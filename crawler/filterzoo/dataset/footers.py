"""What a Parquet file costs to read, judged by its footer before a row of it is.

Equal rows take next to nothing in a file: 464 KB can hold three million of them, 4 GB in memory. Files of releases
expand about fivefold, so a file may expand `RATIO`-fold, and a small one to `FREE` bytes.
"""

from __future__ import annotations

import pyarrow.parquet as pq

from filterzoo.errors import FilterZooError

FREE = 64 << 20
"""Bytes in memory that any file may take."""
RATIO = 100
"""Bytes in memory for each byte of a file beyond that."""
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
_POINTER = 4
"""Bytes that a text or a list takes beside its content."""


def allowed(size: int) -> int:
    """The most bytes in memory that a file of `size` bytes may take."""
    return FREE + RATIO * size


def check_footer(footer: pq.FileMetaData, size: int, where: str) -> None:
    """FilterZooError unless the file can be read for what a release's file may cost, and its counts are possible.

    Texts count as they stand in the file; how often one is repeated is seen only when they are read.
    """
    numbers = 0
    rows = 0
    for group in range(footer.num_row_groups):
        found = footer.row_group(group)
        rows += found.num_rows
        for number in range(found.num_columns):
            column = found.column(number)
            width = _WIDTHS.get(column.physical_type)
            content = column.num_values * width if width else column.total_uncompressed_size
            if column.num_values < 0 or column.total_uncompressed_size < 0 or found.num_rows < 0:
                raise FilterZooError(f"{where}: its footer has negative counts; run filterzoo verify")
            numbers += content + _POINTER * column.num_values
    if rows != footer.num_rows:
        raise FilterZooError(f"{where}: its footer counts {footer.num_rows} rows, its row groups {rows}; verify it")
    if numbers > allowed(size):
        raise FilterZooError(
            f"{where}: {size:,} bytes that would take {numbers:,} in memory; no release writes such a file"
        )
