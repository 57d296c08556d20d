"""Makes a new journal of what can still be read in a damaged one."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from filterzoo.durable import sync_folder
from filterzoo.store.journal import COLUMNS, Journal

_TABLES = {
    "done": "source, id, revision",
    "ledger": "rowid",
    "listed": "source, id, revision",
}
"""Tables of the journal, and the order in which each is stored."""


def salvage(path: Path) -> Path:
    """Replace the journal at `path` by a new one, and return the new name of the old one, which is kept.

    What is lost with it is done again by the next crawl. Hold the work folder's lock.
    """
    made = path.with_name(f"{path.name}.new")
    for leftover in _files(made):
        leftover.unlink(missing_ok=True)
    Journal(made).close()
    with contextlib.closing(sqlite3.connect(made)) as new, contextlib.closing(sqlite3.connect(path)) as old:
        for table, order in _TABLES.items():
            for row in itertools.chain(_readable(old, table, order), _readable(old, table, f"{order} DESC")):
                places = ", ".join("?" * len(row))
                new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608  # the names are ours
        new.commit()
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    broken = next(
        name for n in itertools.count(1) if not (name := path.with_name(f"journal.broken-{n}.sqlite")).exists()
    )
    # The old write-ahead log goes first: beside the new file SQLite would take it for the new file's own.
    for source, target in reversed(list(zip(_files(path), _files(broken), strict=True))):
        with contextlib.suppress(FileNotFoundError):
            source.rename(target)
    made.rename(path)
    sync_folder(path.parent)
    return broken


def _files(database: Path) -> list[Path]:
    return [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm")]


def _readable(database: sqlite3.Connection, table: str, order: str) -> Iterator[tuple[object, ...]]:
    """Rows until the first that cannot be read; from both ends, that is all but those between the first and last.

    Nothing of a view, which gives whatever somebody wrote, and without end.
    """
    with contextlib.suppress(sqlite3.DatabaseError):
        database.execute("PRAGMA trusted_schema = OFF")
        kinds = database.execute("SELECT type FROM sqlite_master WHERE name = ?", (table,)).fetchall()
        if kinds == [("table",)]:
            columns = ", ".join(COLUMNS[table])
            yield from database.execute(f"SELECT {columns} FROM {table} WHERE id IS NOT NULL ORDER BY {order}")  # noqa: S608  # the names are ours
