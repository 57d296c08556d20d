"""Tables that are too long for memory: in an unnamed temporary file of SQLite, gone with its process."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from filterzoo.errors import StorageFailed


def table(definition: str, cache_kb: int) -> sqlite3.Connection:
    """A database with one table, without a journal, inside a transaction that is never committed.

    definition: its `CREATE TABLE`. cache_kb: what is held in memory. For one thread at a time.
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
    """Errors of such a database inside are StorageFailed, with what to do."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise StorageFailed(
            f"the folder of temporary files failed: {error}; free space there, or name another in SQLITE_TMPDIR"
        ) from error
