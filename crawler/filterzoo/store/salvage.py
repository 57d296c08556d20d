"""Creates a new journal from the readable rows of a damaged one."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from filterzoo.durable import sync_folder
from filterzoo.errors import StorageFailed
from filterzoo.store.journal import Journal
from filterzoo.store.journal_tables import COLUMNS, checksum, has_sums

_TABLES = {
    "done": ("id IS NOT NULL", "source, id, revision"),
    "ledger": ("id IS NOT NULL", "rowid"),
    "listed": ("id IS NOT NULL", "source, id, revision"),
    "sources": ("source IS NOT NULL", "source"),
}
"""Table of the journal -> condition of the wanted rows, order of its rows."""


def salvaged(path: Path) -> Path:
    """The path of a new journal until it replaces the damaged one at `path`."""
    return path.with_name(f"{path.name}.salvaged")


def salvage(path: Path) -> None:
    """Replace the journal at `path`, if it exists, by a new one; the old one is kept under a new name.

    The next crawl repeats lost records. Hold the work folder's lock. If this is killed, either the old journal or
    `salvaged(path)` exists: then no other command opens a journal, and this function continues where it stopped.
    StorageFailed if the new journal cannot be written.
    """
    decided = salvaged(path)
    if not decided.exists():
        if not path.exists():
            return
        new_path = path.with_name(f"{path.name}.new")
        for leftover in _files(new_path):
            leftover.unlink(missing_ok=True)
        try:
            _copy(path, new_path)
        except sqlite3.Error as error:
            raise StorageFailed(f"{new_path} cannot be written: {error}; free space and try again") from error
        new_path.rename(decided)
        sync_folder(path.parent)
    broken = next(
        name for n in itertools.count(1) if not (name := path.with_name(f"journal.broken-{n}.sqlite")).exists()
    )
    # The old write-ahead log is moved first: SQLite would apply it to the new file.
    for source, target in reversed(list(zip(_files(path), _files(broken), strict=True))):
        with contextlib.suppress(FileNotFoundError):
            source.rename(target)
    sync_folder(path.parent)
    decided.rename(path)
    sync_folder(path.parent)


def _copy(path: Path, new_path: Path) -> None:
    """Copy what can be read at `path` to a new, synced journal of one file."""
    Journal(new_path).close()
    with contextlib.closing(sqlite3.connect(new_path)) as new, contextlib.closing(sqlite3.connect(path)) as old:
        for table, (wanted, order) in _TABLES.items():
            for row in itertools.chain(
                _readable(old, table, wanted, order), _readable(old, table, wanted, f"{order} DESC")
            ):
                places = ", ".join("?" * len(row))
                new.execute(f"INSERT OR IGNORE INTO {table} VALUES ({places})", row)  # noqa: S608  # the names are ours
        new.commit()
        new.execute("PRAGMA journal_mode=DELETE")


def _files(database: Path) -> list[Path]:
    return [database.with_name(database.name + suffix) for suffix in ("", "-wal", "-shm")]


def _readable(database: sqlite3.Connection, table: str, wanted: str, order: str) -> Iterator[tuple[object, ...]]:
    """Rows up to the first unreadable one, from both ends. None of a view, which could be endless."""
    with contextlib.suppress(sqlite3.DatabaseError):
        database.execute("PRAGMA trusted_schema = OFF")
        kinds = database.execute("SELECT type FROM sqlite_master WHERE name = ?", (table,)).fetchall()
        if kinds == [("table",)]:
            columns = COLUMNS[table] if has_sums(database, table) else COLUMNS[table][:-1]
            for row in database.execute(f"SELECT {', '.join(columns)} FROM {table} WHERE {wanted} ORDER BY {order}"):  # noqa: S608  # the names are ours
                yield row if columns == COLUMNS[table] else (*row, checksum(*row))
