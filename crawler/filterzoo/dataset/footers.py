"""What a Parquet file costs to read, judged by its footer before a row of it is.

Equal rows take next to nothing in a file: 464 KB can hold three million of them, 4 GB in memory. Files of releases
expand about fivefold, so a file may expand `RATIO`-fold, and a small one to `FREE` bytes.
"""

from __future__ import annotations

import io
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from filterzoo.errors import FilterZooError

FREE = 64 << 20
"""Bytes in memory that any file may take."""
RATIO = 100
"""Bytes in memory for each byte of a file beyond that."""
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a number in memory, by physical type."""
LONGEST = 4 << 20
"""Bytes of the longest footer: ten times a release's. In memory it takes up to 150 times as much."""
TAIL = 1 << 16
"""What is read first, from the end: nearly always the whole footer."""
END = 8
"""Bytes behind the footer: its length, and the magic."""
_POINTER = 4
"""Bytes that a text or a list takes beside its content."""


def allowed(size: int) -> int:
    """The most bytes in memory that a file of `size` bytes may take."""
    return FREE + RATIO * size


def least_size(memory: int) -> int:
    """The fewest bytes of a file that may take `memory` bytes in memory."""
    return max(0, -(-(memory - FREE) // RATIO))


def read_footer(file: IO[bytes] | pa.NativeFile, where: str, *, longest: int = LONGEST) -> pq.FileMetaData:
    """The footer of an open file; FilterZooError where it is longer than `longest` bytes, or as `check_footer` says.

    Others raise what pyarrow raises for a file that is none.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - TAIL))
    tail = file.read(TAIL)
    needed = min(size, footer_bytes(tail[-END:], where, longest=longest))
    if needed > len(tail):
        file.seek(size - needed)
        tail = file.read(needed)
    # Arrow looks for a footer from the end, and not at what stands before it.
    footer = pq.read_metadata(pa.BufferReader(tail))
    check_footer(footer, size, where)
    return footer


def footer_bytes(end: bytes, where: str, *, longest: int = LONGEST) -> int:
    """How many bytes the last ones of a file, `END` of them, state that its footer has, with themselves.

    FilterZooError where they are more than `longest`.
    """
    length = int.from_bytes(end[:4], "little")
    if end[4:] == b"PAR1" and length > longest:
        raise FilterZooError(f"{where}: its footer has {length:,} bytes, {longest:,} are read; no release's has more")
    return length + END


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
            width = WIDTHS.get(column.physical_type, 0)
            content = max(column.num_values * width, column.total_uncompressed_size)
            if column.num_values < 0 or column.total_uncompressed_size < 0 or found.num_rows < 0:
                raise FilterZooError(f"{where}: its footer has negative counts; run filterzoo verify")
            numbers += content + _POINTER * column.num_values
    if rows != footer.num_rows:
        raise FilterZooError(f"{where}: its footer counts {footer.num_rows} rows, its row groups {rows}; verify it")
    if numbers > allowed(size):
        raise FilterZooError(
            f"{where}: {size:,} bytes that would take {numbers:,} in memory; no release writes such a file"
        )
