"""Bounds the cost of reading a Parquet file by its footer, before any row is read.

Equal rows compress to almost nothing: a file of 464 KB can hold three million rows, 4 GB in memory. Files of releases
expand about fivefold, so a file may expand by `RATIO`, and a small file to `FREE` bytes.
"""

from __future__ import annotations

import io
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from filterzoo.errors import FilterZooError

FREE = 64 << 20
"""Bytes of memory that any file may take, regardless of its size."""
RATIO = 100
"""Bytes in memory for each byte of a file beyond that."""
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
"""Bytes of a number in memory, by physical type."""
LARGEST_GROUP = 320 << 20
"""Bytes in memory that a row group may take. Row groups of releases take a tenth of it for any file size; for a row
group of one row see `LARGEST_ROW`.
"""
LARGEST_ROW = 1 << 30
"""Bytes in memory of a row group of one row: a block of filters with 64x64 weights each."""
LONGEST = 4 << 20
"""Largest footer in bytes: ten times a release's. In memory it takes up to 150 times as much."""
TAIL = 1 << 16
"""Bytes that are read first, from the end of the file: nearly always the whole footer."""
END = 8
"""Bytes after the footer: its length, and the magic."""
_POINTER = 4
"""Overhead in bytes of a text or a list."""


def allowed(size: int) -> int:
    """The most bytes in memory that a file of `size` bytes may take."""
    return FREE + RATIO * size


def least_size(memory: int) -> int:
    """The fewest bytes of a file that may take `memory` bytes in memory."""
    return max(0, -(-(memory - FREE) // RATIO))


def read_footer(
    file: IO[bytes] | pa.NativeFile, where: str, *, longest: int = LONGEST, largest_group: int = LARGEST_GROUP
) -> pq.FileMetaData:
    """The footer of an open file; FilterZooError as `check_footer`, or if longer than `longest` bytes."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - TAIL))
    tail = file.read(TAIL)
    needed = min(size, footer_bytes(tail[-END:], where, longest=longest))
    if needed > len(tail):
        file.seek(size - needed)
        tail = file.read(needed)
    # Arrow locates the footer from the end of the file.
    footer = pq.read_metadata(pa.BufferReader(tail))
    check_footer(footer, size, where, largest_group=largest_group)
    return footer


def footer_bytes(end: bytes, where: str, *, longest: int = LONGEST) -> int:
    """The footer's length with its `END` last bytes, as these state it.

    FilterZooError if it is more than `longest`.
    """
    length = int.from_bytes(end[:4], "little")
    if end[4:] == b"PAR1" and length > longest:
        raise FilterZooError(f"{where}: its footer has {length:,} bytes, {longest:,} are read; no release's has more")
    return length + END


def check_footer(footer: pq.FileMetaData, size: int, where: str, *, largest_group: int = LARGEST_GROUP) -> None:
    """FilterZooError if reading the file would cost more than any file of a release, or its counts are impossible.

    Texts count with their encoded size, because dictionary repetitions are known only when they are read.
    """
    numbers = 0
    rows = 0
    for group in range(footer.num_row_groups):
        found = footer.row_group(group)
        rows += found.num_rows
        before = numbers
        for number in range(found.num_columns):
            column = found.column(number)
            width = WIDTHS.get(column.physical_type, 0)
            content = max(column.num_values * width, column.total_uncompressed_size)
            if column.num_values < 0 or column.total_uncompressed_size < 0 or found.num_rows < 0:
                raise FilterZooError(f"{where}: its footer has negative counts; run filterzoo verify")
            numbers += content + _POINTER * column.num_values
        if numbers - before > (max(LARGEST_ROW, largest_group) if found.num_rows == 1 else largest_group):
            raise FilterZooError(
                f"{where}: a row group would take {numbers - before:,} bytes in memory; no release has such a one"
            )
    if rows != footer.num_rows:
        raise FilterZooError(f"{where}: its footer counts {footer.num_rows} rows, its row groups {rows}; verify it")
    if numbers > allowed(size):
        raise FilterZooError(
            f"{where}: {size:,} bytes that would take {numbers:,} in memory; no release writes such a file"
        )
