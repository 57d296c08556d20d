"""The journal: the state of every checkpoint and the ledger, in one SQLite file that only the driver writes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

from filterzoo.errors import Reason, Stage, StartError, StorageFailed
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Artifact, Checkpoint

_SCHEMA = """
CREATE TABLE IF NOT EXISTS done (
    source TEXT NOT NULL, id TEXT NOT NULL, revision TEXT NOT NULL, settings TEXT NOT NULL, document TEXT NOT NULL,
    PRIMARY KEY (source, id, revision)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (
    source TEXT NOT NULL, id TEXT, revision TEXT, reason TEXT NOT NULL, settings TEXT NOT NULL, document TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS listed (
    source TEXT NOT NULL, id TEXT NOT NULL, revision TEXT NOT NULL, day TEXT NOT NULL,
    PRIMARY KEY (source, id, revision)
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS ledger_checkpoint ON ledger (source, id, revision) WHERE id IS NOT NULL;
"""


class Journal:
    """Opens or makes the journal at `path`. Each record is one durable transaction, or StorageFailed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as undo:
            try:
                self._database = sqlite3.connect(path, isolation_level=None, timeout=60)
                undo.callback(self._database.close)
                self._database.execute("PRAGMA journal_mode=WAL")
                self._database.execute("PRAGMA synchronous=FULL")
                self._database.executescript(_SCHEMA)
            except sqlite3.DatabaseError as error:
                raise StartError(
                    f"{path}: cannot be used as journal: {error}; `filterzoo doctor --repair` mends it"
                ) from error
            undo.pop_all()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def is_settled(self, checkpoint: Checkpoint, settings: str) -> bool:
        """Whether nothing is left to do for the checkpoint under these settings: it is done, or failed for good."""
        key = (checkpoint.source, checkpoint.id, checkpoint.revision, settings)
        if any(self._rows("SELECT 1 FROM done WHERE source = ? AND id = ? AND revision = ? AND settings = ?", key)):
            return True
        reasons = self._rows(
            "SELECT reason FROM ledger WHERE source = ? AND id = ? AND revision = ? AND settings = ?", key
        )
        return any(not Reason(reason).is_transient for (reason,) in reasons)

    def record_done(self, done: Done, settings: str) -> None:
        """The checkpoint is done; a former ledger entry is superseded."""
        key = (done.checkpoint.source, done.checkpoint.id, done.checkpoint.revision)
        with self._transaction():
            self._forget(key)
            self._database.execute("INSERT INTO done VALUES (?, ?, ?, ?, ?)", (*key, settings, _dump(asdict(done))))

    def record_ledger(self, entry: LedgerEntry, settings: str = "") -> None:
        """Record a refusal; a former entry or result for the same checkpoint is superseded."""
        row = (entry.source, entry.id, entry.revision, str(entry.reason), settings, _dump(asdict(entry)))
        key = (entry.source, entry.id, entry.revision)
        if row in self._rows("SELECT * FROM ledger WHERE source = ? AND id = ? AND revision = ?", key):
            return  # what a licence leaves out is told again by every run, and a write waits for the disk
        with self._transaction():
            if entry.id is not None and entry.revision is not None:
                self._forget((entry.source, entry.id, entry.revision))
            self._database.execute("INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?)", row)

    def forget_plugin_failures(self) -> None:
        """A new run asks every plugin again, so the last run's entries about whole plugins are superseded."""
        with self._transaction():
            self._database.execute("DELETE FROM ledger WHERE id IS NULL")

    def record_listed(self, checkpoints: Iterable[Checkpoint], day: str) -> None:
        """Their zoos listed them on that day, `YYYY-MM-DD`; all in one transaction."""
        rows = [(checkpoint.source, checkpoint.id, checkpoint.revision, day) for checkpoint in checkpoints]
        with self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO listed VALUES (?, ?, ?, ?)", rows)

    def listed(self) -> dict[tuple[str, str, str], str]:
        """(source, id, revision) -> the last day its zoo listed the checkpoint."""
        rows = self._rows("SELECT source, id, revision, day FROM listed")
        return {(source, ident, revision): day for source, ident, revision, day in rows}

    def problems(self) -> list[str]:
        """What SQLite finds wrong with the file, the first hundred at most."""
        return [text for (text,) in self._rows("PRAGMA integrity_check") if text != "ok"]

    def rows(self, table: Literal["done", "ledger"]) -> Iterator[tuple[Any, ...]]:
        """(source, id, revision, ..., document) as they are stored, for those who check them."""
        yield from self._rows(f"SELECT * FROM {table}")  # noqa: S608  # the table names are ours

    def forget(self, source: str, ident: str, revision: str) -> None:
        """The checkpoint was never looked at: the next crawl does."""
        with self._transaction():
            self._forget((source, ident, revision))

    def done(self) -> Iterator[Done]:
        """Every checkpoint that made it, by source, id and revision."""
        for (document,) in self._rows("SELECT document FROM done ORDER BY source, id, revision"):
            fields = json.loads(document)
            checkpoint = fields.pop("checkpoint")
            artifacts = tuple(Artifact(**artifact) for artifact in checkpoint.pop("artifacts"))
            yield Done(checkpoint=Checkpoint(artifacts=artifacts, **checkpoint), **fields)

    def ledger(self) -> Iterator[LedgerEntry]:
        """Every entry of the ledger, by source, id and revision; whole plugins first."""
        for (document,) in self._rows(
            "SELECT document FROM ledger ORDER BY source, id IS NOT NULL, id, revision, document"
        ):
            fields = json.loads(document)
            yield LedgerEntry(**(fields | {"reason": Reason(fields["reason"]), "stage": Stage(fields["stage"])}))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """All that the block writes, durably, or nothing."""
        with self._named(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    def _rows(self, query: str, parameters: tuple[str | None, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self._named():
            yield from self._database.execute(query, parameters)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """A full disk or a damaged file as one line that names the journal."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            advice = "free space and run the same command again, or see `filterzoo doctor`"
            raise StorageFailed(f"{self._path}: the journal failed: {error}; {advice}") from error

    def _forget(self, key: tuple[str, str, str]) -> None:
        for table in ("done", "ledger"):
            self._database.execute(f"DELETE FROM {table} WHERE source = ? AND id = ? AND revision = ?", key)  # noqa: S608  # the table names are ours


def _dump(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True)
