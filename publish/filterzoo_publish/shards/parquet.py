"""Parquet files as they are published: written row group by row group, named by the hash of their bytes."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from filterzoo.dataset.paths import NAME_DIGITS
from filterzoo_publish.schema import arrow_schema, dictionary_columns, float_leaves

_PAGE_BYTES = 4 << 20
"""Weights of 4 MiB pages take 30.3 bytes a filter, of 1 MiB pages 30.6: byte streams are longer. A limit on the rows of
a page changes nothing here, since a row is a block of filters."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished file: `local` is where it was written, `path` where it belongs in the data set."""

    config: str
    path: str
    local: Path
    rows: int
    size: int


class ShardWriter:
    """Writes one file of a config into `folder`; leaving the block without `finish` removes it."""

    def __init__(self, folder: Path, config: str) -> None:
        self._config = config
        self._local = folder / secrets.token_hex(8)
        self._sink = _HashingFile(self._local)
        self._schema = arrow_schema(config)
        try:
            self._writer = pq.ParquetWriter(
                self._sink,
                self._schema,
                compression="zstd",
                compression_level=1,
                use_dictionary=dictionary_columns(config),
                use_byte_stream_split=float_leaves(config),
                data_page_size=_PAGE_BYTES,
                write_page_index=True,
            )
        except OSError:
            self._remove()
            raise
        self.rows = 0
        self.row_groups = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_rest: object) -> None:
        if kind is not None:
            # The writer would otherwise write its footer when it is collected, into a file that is closed.
            with contextlib.suppress(OSError, pa.ArrowException):  # a full disk takes no footer
                self._writer.close()
            self._remove()

    def _remove(self) -> None:
        with contextlib.suppress(OSError):
            self._sink.close()
        self._local.unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Append one row group."""
        self._writer.write_table(table.select(self._schema.names).cast(self._schema), row_group_size=max(1, len(table)))
        self.rows += len(table)
        self.row_groups += 1

    def finish(self, *folders: str) -> Shard:
        """Close the file; it belongs in `data/<config>/<folders>`."""
        self._writer.close()
        size = self._sink.tell()
        self._sink.close()
        name = f"{self._sink.hexdigest()[:NAME_DIGITS]}.parquet"
        return Shard(self._config, "/".join(("data", self._config, *folders, name)), self._local, self.rows, size)


class _HashingFile:
    """A new file that hashes what is appended to it; what pyarrow asks of a Python file."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._hash = hashlib.sha256()
        self.closed = False

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        self._file.flush()

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
