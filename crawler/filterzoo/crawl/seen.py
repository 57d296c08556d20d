"""A set of checkpoints that a run has listed: millions of them, in a temporary file and a few megabytes of memory."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from typing import Self

from filterzoo import temporary

_CACHE_KB = 16_000
_DIGEST = 16
"""Bytes of a hash: two of 10^9 names collide with a probability of 10^-21."""


class Seen:
    """A set of names. SQLite spills its cache to an unnamed temporary file."""

    def __enter__(self) -> Self:
        self._database = temporary.table("CREATE TABLE seen (name BLOB PRIMARY KEY) WITHOUT ROWID", _CACHE_KB)
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):
            self._database.close()

    def is_new(self, *name: str) -> bool:
        """Add a name, given by its parts; whether it is new. StorageFailed where the disk is full."""
        hasher = hashlib.blake2b(digest_size=_DIGEST)
        for part in name:
            data = part.encode("utf-8", "surrogatepass")
            hasher.update(len(data).to_bytes(8, "little") + data)
        with temporary.failing_by_name():
            cursor = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (hasher.digest(),))
        return cursor.rowcount == 1
