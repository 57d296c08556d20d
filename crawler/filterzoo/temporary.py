"""Data too large for memory: unnamed temporary files and SQLite tables that are removed with their process."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from typing import Self

from filterzoo.errors import StorageFailed

_SEEN_KB = 16_000
_DIGEST = 16
"""Bytes of a hash: two of 10^9 names collide with a probability of 10^-21."""


def table(definition: str, cache_kb: int) -> sqlite3.Connection:
    """A database with one table, without a journal, inside a transaction that is never committed.

    definition: its `CREATE TABLE`. cache_kb: the size of the cache in memory. Not thread-safe.
    """
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for statement in (
        "PRAGMA journal_mode=OFF",
        "PRAGMA synchronous=OFF",
        f"PRAGMA cache_size=-{cache_kb}",
        definition,
        "BEGIN",
    ):
        database.execute(statement)
    return database


@contextlib.contextmanager
def failing_by_name() -> Iterator[None]:
    """Turn errors of such a database into StorageFailed, with advice."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StorageFailed(
            f"the folder of temporary files failed: {error}; free space there, or name another in SQLITE_TMPDIR"
        ) from error


def write_all(file: int, data: bytes | bytearray) -> None:
    """Write all bytes to the descriptor of a temporary file; StorageFailed, with advice, if its disk fails."""
    try:
        with memoryview(data) as view:
            written = 0
            while written < len(data):
                with view[written:] as rest:
                    written += os.write(file, rest)
    except OSError as error:
        raise StorageFailed(
            f"{tempfile.gettempdir()}: {error.strerror}; free space there, or name another folder in TMPDIR"
        ) from error


class Seen:
    """A set of names, millions of them in a few megabytes of memory. Use as a context manager."""

    def __enter__(self) -> Self:
        self._database = table("CREATE TABLE seen (name BLOB PRIMARY KEY) WITHOUT ROWID", _SEEN_KB)
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(sqlite3.DatabaseError):
            self._database.close()

    def is_new(self, *name: str) -> bool:
        """Add a name, given by its parts; whether it is new. StorageFailed if the disk is full."""
        hasher = hashlib.blake2b(digest_size=_DIGEST)
        for part in name:
            data = part.encode("utf-8", "surrogatepass")
            hasher.update(len(data).to_bytes(8, "little") + data)
        with failing_by_name():
            cursor = self._database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (hasher.digest(),))
        return cursor.rowcount == 1
