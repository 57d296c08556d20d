"""The tables of the journal: their columns, their versions, and a checksum in each row.

SQLite detects a damaged page by its structure, but not a flipped bit in a text. A row whose checksum differs is never
published, and `filterzoo doctor --repair` sets it aside.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from typing import Any

VERSION = 5
"""The version of the tables and documents, as in `PRAGMA user_version`; 0 in journals without one.

A change of a table, or a new field of a document, is a new version with a step in `migrate`. 2: `not_before` of ledger
entries, `architecture_found` of what is done. 3: filters fragments have the published form; older ones are still read.
4: the table `sources`. 5: the column `checksum` of each table, and indexes for `status`.
"""
FIRST_WITH_SUMS = 5
COLUMNS = {
    "done": ("source", "id", "revision", "settings", "document", "checksum"),
    "ledger": ("source", "id", "revision", "reason", "settings", "document", "checksum"),
    "listed": ("source", "id", "revision", "day", "checksum"),
    "sources": ("source", "is_up", "listed", "checksum"),
}
"""Tables of a journal, and their columns in order."""
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS done (
        source TEXT NOT NULL, id TEXT NOT NULL, revision TEXT NOT NULL, settings TEXT NOT NULL, document TEXT NOT NULL,
        checksum INTEGER,
        PRIMARY KEY (source, id, revision)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS ledger (
        source TEXT NOT NULL, id TEXT, revision TEXT, reason TEXT NOT NULL, settings TEXT NOT NULL,
        document TEXT NOT NULL, checksum INTEGER
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS listed (
        source TEXT NOT NULL, id TEXT NOT NULL, revision TEXT NOT NULL, day TEXT NOT NULL, checksum INTEGER,
        PRIMARY KEY (source, id, revision)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS sources (
        source TEXT NOT NULL PRIMARY KEY, is_up INTEGER NOT NULL, listed TEXT, checksum INTEGER
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX IF NOT EXISTS ledger_checkpoint ON ledger (source, id, revision) WHERE id IS NOT NULL",
    # `status` counts and lists a ledger of millions without reading its documents.
    "CREATE INDEX IF NOT EXISTS ledger_plugin ON ledger (source, document) WHERE id IS NULL",
    "CREATE INDEX IF NOT EXISTS ledger_reason ON ledger (reason, source) WHERE id IS NOT NULL",
)


def checksum(*values: str | int | None) -> int:
    """The CRC-32 of a row's values."""
    return zlib.crc32("\x1f".join(map(str, values)).encode(errors="surrogatepass"))


def open_for_sums(database: sqlite3.Connection) -> None:
    """Register `checksum` as an SQL function of this connection."""
    database.create_function("checksum", -1, checksum, deterministic=True)


def insertion(table: str, *, or_replace: bool = False) -> str:
    """The statement that inserts or replaces a row; the checksum is computed."""
    places = ", ".join(f"?{number}" for number in range(1, len(COLUMNS[table])))
    return f"INSERT {'OR REPLACE ' * or_replace}INTO {table} VALUES ({places}, checksum({places}))"  # noqa: S608  # the names are ours


def changed(database: sqlite3.Connection) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """(table, row) of each row whose checksum differs; journals before version 5 have no checksums."""
    for table in COLUMNS:
        if has_sums(database, table):
            for row in database.execute(f"SELECT * FROM {table} WHERE checksum IS NOT {_of(table)}"):  # noqa: S608  # the names are ours
                yield table, row


def migrate(database: sqlite3.Connection) -> None:
    """Migrate the tables to this version, in one transaction."""
    database.execute("BEGIN IMMEDIATE")
    with database:
        for statement in _SCHEMA:
            database.execute(statement)
        for table in COLUMNS:
            if not has_sums(database, table):
                database.execute(f"ALTER TABLE {table} ADD COLUMN checksum INTEGER")
                database.execute(f"UPDATE {table} SET checksum = {_of(table)}")  # noqa: S608  # the names are ours
        database.execute(f"PRAGMA user_version = {VERSION}")


def has_sums(database: sqlite3.Connection, table: str) -> bool:
    """Whether a table exists and has the column."""
    return any(row[1] == "checksum" for row in database.execute(f"PRAGMA table_info({table})"))


def _of(table: str) -> str:
    return f"checksum({', '.join(COLUMNS[table][:-1])})"
