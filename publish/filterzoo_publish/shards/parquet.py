"""Writes the published Parquet files, named by the hash of their bytes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa

from filterzoo.dataset.paths import NAME_DIGITS
from filterzoo.store.encoding import EncodedFile
from filterzoo_publish.schema import arrow_schema


@dataclass(frozen=True, slots=True)
class Shard:
    """A finished file. local: where it was written. path: its path in the data set. size: in bytes."""

    config: str
    path: str
    local: Path
    rows: int
    size: int


class ShardWriter:
    """Writes one file of a config into `folder`. Leaving the context without `finish` removes the file."""

    def __init__(self, folder: Path, config: str) -> None:
        self._config = config
        self.file = EncodedFile(new_place(folder), arrow_schema(config))

    def __enter__(self) -> Self:
        self.file.__enter__()
        return self

    def __exit__(self, kind: object, *rest: object) -> None:
        self.file.__exit__(kind, *rest)

    @property
    def rows(self) -> int:
        """Rows that were written."""
        return self.file.rows

    @property
    def row_groups(self) -> int:
        """Row groups that were written."""
        return self.file.row_groups

    def write(self, table: pa.Table) -> None:
        """Append one row group."""
        self.file.write(table)

    def finish(self, *folders: str) -> Shard:
        """Close the file. Its path in the data set is in `data/<config>/<folders>`."""
        sha256, size = self.file.finish()
        return Shard(self._config, published_path(self._config, sha256, *folders), self.file.path, self.rows, size)


def new_place(folder: Path) -> Path:
    """An unused path in `folder`."""
    return folder / secrets.token_hex(8)


def published_path(config: str, sha256: str, *folders: str) -> str:
    """The path in the data set of a file with that hash."""
    return "/".join(("data", config, *folders, f"{sha256[:NAME_DIGITS]}.parquet"))
