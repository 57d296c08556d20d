"""Parquet as it is published: written row group by row group, hashed while it is written.

Weights and statistics are split by byte and compressed with zstd at level 1; texts stand in dictionaries.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from filterzoo.dataset.footers import END, footer_bytes, least_size

_PAGE_BYTES = 4 << 20
"""Weights of 4 MiB pages take 30.3 bytes a filter, of 1 MiB pages 30.6: byte streams are longer. A limit on the rows of
a page changes nothing here, since a row is a block of filters."""

_HEADS = 1 << 16
"""Bytes that the heads of a row group's pages take at most."""


class EncodedFile:
    """Writes a new file at `path`; leaving the block without `finish` removes it.

    The same row groups give the same bytes with the same pyarrow.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self.row_groups = 0
        self._memory = 0
        self._schema = schema
        self._sink = _HashingFile(path)
        try:
            self._writer = pq.ParquetWriter(
                self._sink,
                schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=dictionary_columns(schema),
                use_byte_stream_split=float_leaves(schema),
                data_page_size=_PAGE_BYTES,
                write_page_index=True,
            )
        except OSError:
            self._remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_rest: object) -> None:
        if kind is not None:
            self.discard()

    def discard(self) -> None:
        """Remove what was written."""
        # The writer would otherwise write its footer when it is collected, into a file that is closed.
        with contextlib.suppress(OSError, pa.ArrowException):  # a full disk takes no footer
            self._writer.close()
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._sink.close()
        self.path.unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Append one row group."""
        table = table.select(self._schema.names).cast(self._schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        # More than `footers.check_footer` counts: each number and its place, of empty cells too, and heads of pages.
        self._memory += 2 * table.nbytes * 17 // 16 + 8 * table.num_rows * table.num_columns + _HEADS
        self.rows += len(table)
        self.row_groups += 1

    def finish(self, *, durable: bool = False) -> tuple[str, int]:
        """Close the file; gives the sha256 of its bytes in hex, and their number. durable: they are on the disk.

        Weights that are all alike compress to nothing, and readers take such a file for a bomb: unused bytes before
        its footer make it as large as it has to be.
        """
        self._sink.hold()
        self._writer.close()
        self._sink.release(least_size(self._memory))
        size = self._sink.tell()
        if durable:
            self._sink.sync()
        self._sink.close()
        return self._sink.hexdigest(), size


def float_leaves(schema: pa.Schema) -> list[str]:
    """Parquet paths of the columns whose numbers are weights or statistics: split by byte, never in a dictionary."""
    return [
        f"{field.name}.list.element" if is_list(field.type) else field.name
        for field in schema
        if (field.type.value_type if is_list(field.type) else field.type) in {pa.float32(), pa.float64(), pa.uint32()}
    ]


def dictionary_columns(schema: pa.Schema) -> list[str]:
    """Columns that repeat a few values."""
    return [field.name for field in schema if field.type == pa.string()]


def is_list(kind: pa.DataType) -> bool:
    """Whether a cell holds several numbers."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind))


class _HashingFile:
    """A new file that hashes what is appended to it; what pyarrow asks of a Python file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._hash = hashlib.sha256()
        self._held: bytearray | None = None
        self.closed = False

    def write(self, data: Any) -> int:
        if self._held is not None:
            self._held += data
            return len(data)
        self._hash.update(data)
        return self._file.write(data)

    def hold(self) -> None:
        """Keep in memory what comes from now on: the indexes of pages, and the footer."""
        self._held = bytearray()

    def release(self, least: int) -> None:
        """Write what was kept, with zeros before the footer that make the file as long as `least` bytes."""
        held, self._held = bytes(self._held or b""), None
        begin = len(held) - footer_bytes(held[-END:], "a file", longest=len(held))
        self.write(held[:begin])
        missing = least - self._file.tell() - (len(held) - begin)
        for start in range(0, missing, _PAGE_BYTES):
            self.write(bytes(min(_PAGE_BYTES, missing - start)))
        self.write(held[begin:])

    def tell(self) -> int:
        return self._file.tell() + len(self._held or b"")

    def flush(self) -> None:
        self._file.flush()

    def sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def hexdigest(self) -> str:
        return self._hash.hexdigest()
