"""The published form of Parquet: written row group by row group, hashed while it is written.

Weights and statistics are byte-stream-split and compressed with zstd at level 1; texts are dictionary-encoded.
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
"""With pages of 4 MiB a filter takes 30.3 bytes, with 1 MiB 30.6, because byte streams are longer. A limit on the rows
of a page has no effect here, since a row is a block of filters.
"""

_HEADS = 1 << 16
"""Most bytes of a row group's page headers."""


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
        """Remove the file."""
        # Otherwise the writer would write its footer into a closed file when it is collected.
        with contextlib.suppress(OSError, pa.ArrowException):  # on a full disk the footer cannot be written
            self._writer.close()
        self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._sink.close()
        self.path.unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Append one row group."""
        table = table.select(self._schema.names)
        if not table.schema.equals(self._schema, check_metadata=True):  # a cast imports Arrow's functions
            table = table.cast(self._schema)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        # An upper bound for `footers.check_footer`: each number with its dictionary index, empty cells, and page
        # headers.
        self._memory += 2 * table.nbytes * 17 // 16 + 8 * table.num_rows * table.num_columns + _HEADS
        self.rows += len(table)
        self.row_groups += 1

    def finish(self, *, durable: bool = False) -> tuple[str, int]:
        """Close the file; returns the sha256 of its bytes in hex, and its size. durable: sync it.

        Equal weights compress to almost nothing, and readers would refuse such a file as a bomb: padding before the
        footer makes it large enough.
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
    """Parquet paths of the columns of weights or statistics: byte-stream-split, without dictionaries."""
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
    """A new file that hashes the written bytes, with the methods that pyarrow requires."""

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
        """Buffer everything from now on: the page indexes, and the footer."""
        self._held = bytearray()

    def release(self, least: int) -> None:
        """Write the buffer, with zeros before the footer so that the file has at least `least` bytes."""
        buffered, self._held = bytes(self._held or b""), None
        begin = len(buffered) - footer_bytes(buffered[-END:], "a file", longest=len(buffered))
        self.write(buffered[:begin])
        missing = least - self._file.tell() - (len(buffered) - begin)
        for start in range(0, missing, _PAGE_BYTES):
            self.write(bytes(min(_PAGE_BYTES, missing - start)))
        self.write(buffered[begin:])

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
