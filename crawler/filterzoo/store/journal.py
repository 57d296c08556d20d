"""The journal: the state of every checkpoint and the ledger, in one SQLite file that only the driver writes."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from heapq import merge
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, Self

from filterzoo.errors import NewerJournal, Reason, StartError, StorageFailed
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Checkpoint
from filterzoo.store.documents import (
    UNREADABLE,
    UnknownFields,
    done_document,
    done_of,
    entry_document,
    entry_of,
    json_of_entry,
)
from filterzoo.store.journal_tables import COLUMNS, FIRST_WITH_SUMS, VERSION, changed, insertion, migrate, open_for_sums
from filterzoo.store.read_only import open_read_only

_LEDGER_ROW = f"SELECT {', '.join(COLUMNS['ledger'][:-1])} FROM ledger WHERE source = ? AND id = ? AND revision = ?"  # noqa: S608  # the names are ours


class Journal:
    """Opens or creates the journal at `path`. Each record is one durable transaction, or StorageFailed.

    An older journal is migrated. read_only: nothing is written, so that the folder may be read-only.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._path = path
        self._undo = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            try:
                self._database = undo.enter_context(contextlib.closing(self._opened(undo, read_only=read_only)))
                open_for_sums(self._database)
                self._check_version()
                if not read_only:
                    self._migrate()
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                # A message of SQLite that quotes a damaged name is not UTF-8. Errors of Python itself have no name.
                is_full = getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"
                advice = (
                    "free space and run the same command again" if is_full else "`filterzoo doctor --repair` mends it"
                )
                raise StartError(f"{path}: cannot be used as journal: {error}; {advice}") from error
            self._undo = undo.pop_all()

    def _opened(self, undo: contextlib.ExitStack, *, read_only: bool) -> sqlite3.Connection:
        if read_only:
            return open_read_only(self._path, undo)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return sqlite3.connect(self._path, isolation_level=None, timeout=60)

    def _check_version(self) -> None:
        """NewerJournal if the version, a table or a column is unknown; sqlite3.DatabaseError for a damaged file.

        StartError for a view or a trigger, which no journal has: they would execute untrusted SQL.
        """
        self._database.execute("PRAGMA trusted_schema = OFF")
        ((version,),) = self._database.execute("PRAGMA user_version")
        if version > VERSION:
            raise NewerJournal(_newer(self._path, f"it has version {version}, this filterzoo knows {VERSION}"))
        for kind, name in self._database.execute(
            "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'trigger')"
        ):
            raise StartError(
                f"{self._path}: has a {kind}, {ascii(name)[:80]}; no crawl wrote it; name another --workdir"
            )
        tables = self._database.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
        for (table,) in tables.fetchall():
            columns = tuple(row[1] for row in self._database.execute("SELECT * FROM pragma_table_info(?)", (table,)))
            known = COLUMNS.get(table, ())
            if columns != (known if version >= FIRST_WITH_SUMS or "checksum" in columns else known[:-1]):
                ((sound,),) = self._database.execute("PRAGMA quick_check(1)")
                if sound != "ok":
                    raise sqlite3.DatabaseError(sound)
                raise NewerJournal(_newer(self._path, f"its table {ascii(table)[:80]} is not one of this version"))

    def _migrate(self) -> None:
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        ((version,),) = self._database.execute("PRAGMA user_version")
        if version < VERSION or not self._has_tables():
            migrate(self._database)

    def _has_tables(self) -> bool:
        names = ", ".join(f"'{name}'" for name in COLUMNS)
        found = self._database.execute(f"SELECT count(*) FROM sqlite_master WHERE name IN ({names})")  # noqa: S608  # the table names are ours
        return bool(found.fetchone()[0] == len(COLUMNS))

    def close(self) -> None:
        """Close the file."""
        self._undo.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def is_settled(self, checkpoint: Checkpoint, settings: str) -> bool:
        """Whether the checkpoint needs no work under these settings: it is done, or failed permanently."""
        key = (checkpoint.source, checkpoint.id, checkpoint.revision, settings)
        if any(self._rows("SELECT 1 FROM done WHERE source = ? AND id = ? AND revision = ? AND settings = ?", key)):
            return True
        reasons = self._rows(
            "SELECT reason FROM ledger WHERE source = ? AND id = ? AND revision = ? AND settings = ?", key
        )
        return any(not Reason(reason).is_transient for (reason,) in reasons)

    def done_of(self, checkpoint: Checkpoint) -> Done | None:
        """The record of a finished checkpoint; None for any other."""
        key = (checkpoint.source, checkpoint.id, checkpoint.revision)
        for (document,) in self._rows("SELECT document FROM done WHERE source = ? AND id = ? AND revision = ?", key):
            with self._record_errors():
                return done_of(document)
        return None

    def record_done(self, done: Done, settings: str) -> None:
        """Record a finished checkpoint; a former ledger entry is superseded."""
        key = (done.checkpoint.source, done.checkpoint.id, done.checkpoint.revision)
        with self.together():
            self._forget(key)
            self._database.execute(insertion("done"), (*key, settings, done_document(done)))

    def record_ledger(self, entry: LedgerEntry, settings: str = "") -> None:
        """Record a refusal; a former entry or result for the same checkpoint is superseded."""
        row = (entry.source, entry.id, entry.revision, str(entry.reason), settings, entry_document(entry))
        key = (entry.source, entry.id, entry.revision)
        if row in self._rows(_LEDGER_ROW, key):
            return  # every run finds the same exclusions, and each write waits for the disk
        with self.together():
            if entry.id is not None and entry.revision is not None:
                self._forget((entry.source, entry.id, entry.revision))
            self._database.execute(insertion("ledger"), row)

    def record_refusals(self, entries: Sequence[LedgerEntry]) -> None:
        """`record_ledger` for many checkpoints that discovery left out, in one transaction."""
        new: list[tuple[tuple[str, str, str], tuple[str, str, str, str, str, str]]] = []
        for one in entries:
            key = (one.source, one.id or "", one.revision or "")
            row = (*key, str(one.reason), "", entry_document(one))
            if row not in self._rows(_LEDGER_ROW, key):
                new.append((key, row))
        if not new:
            return
        with self.together():
            for key, row in new:
                self._forget(key)
                self._database.execute(insertion("ledger"), row)

    def forget_plugin_failures(self) -> None:
        """Remove the last run's entries about whole plugins: a new run loads every plugin again."""
        with self.together():
            self._database.execute("DELETE FROM ledger WHERE id IS NULL")

    def record_listed(self, checkpoints: Iterable[Checkpoint], day: str) -> None:
        """Record in one transaction that their zoos listed them on that day (`YYYY-MM-DD`)."""
        rows = [(checkpoint.source, checkpoint.id, checkpoint.revision, day) for checkpoint in checkpoints]
        with self.together():
            self._database.executemany(insertion("listed", or_replace=True), rows)

    def listed(self) -> Iterator[tuple[tuple[str, str, str], str]]:
        """(source, id, revision), and the last day its zoo listed the checkpoint."""
        for source, ident, revision, day in self._rows("SELECT source, id, revision, day FROM listed"):
            yield (source, ident, revision), day

    def done_and_listed(self) -> Iterator[tuple[Done, str | None]]:
        """Every finished checkpoint, in the order of `done`, and the last day its zoo listed it."""
        query = (
            "SELECT document, day FROM done LEFT JOIN listed USING (source, id, revision) ORDER BY source, id, revision"
        )
        for document, day in self._rows(query):
            with self._record_errors():
                done = done_of(document)
            yield done, day

    def refusals(self) -> Iterator[tuple[str, bool, Reason, int]]:
        """(source, whether it is about the whole source, reason, count) of the ledger; reads no documents."""
        checkpoints = "SELECT source, 0, reason, count(*) FROM ledger WHERE id IS NOT NULL GROUP BY reason, source"
        plugins = "SELECT source, 1, reason, count(*) FROM ledger WHERE id IS NULL GROUP BY reason, source"
        for source, is_whole, reason, count in chain(self._rows(checkpoints), self._rows(plugins)):
            with self._record_errors():
                known = Reason(reason)
            yield source, bool(is_whole), known, count

    def tried_again(self) -> Iterator[LedgerEntry]:
        """The entries of the ledger that the next run retries."""
        reasons = [str(reason) for reason in Reason if reason.is_transient]
        chosen = f"reason IN ({', '.join('?' * len(reasons))})"
        checkpoints = f"SELECT document FROM ledger WHERE id IS NOT NULL AND {chosen}"  # noqa: S608  # places alone
        plugins = f"SELECT document FROM ledger WHERE id IS NULL AND {chosen}"  # noqa: S608  # places alone
        for (document,) in chain(self._rows(checkpoints, tuple(reasons)), self._rows(plugins, tuple(reasons))):
            with self._record_errors():
                entry = entry_of(document)
            yield entry

    def copy_to(self, path: Path) -> None:
        """Copy the journal to one new file; StorageFailed if it cannot be written."""
        with self._sqlite_errors(), contextlib.closing(sqlite3.connect(path)) as copy:
            self._database.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")

    def record_sources(self, listed: Mapping[str, bool], now: str) -> None:
        """Record whether each source was listed to its end; `now` is a time in UTC."""
        with self.together():
            for source, is_up in listed.items():
                before = self._database.execute("SELECT listed FROM sources WHERE source = ?", (source,)).fetchone()
                last = now if is_up else before and before[0]
                self._database.execute(insertion("sources", or_replace=True), (source, is_up, last))

    def sources(self) -> dict[str, tuple[bool, str | None]]:
        """Source -> (whether the last listing was complete, time of the last complete listing in UTC)."""
        if not any(self._rows("SELECT 1 FROM sqlite_master WHERE name = 'sources'")):
            return {}  # an older journal opened read-only
        rows = self._rows("SELECT source, is_up, listed FROM sources")
        return {str(source): (bool(is_up), _time(listed)) for source, is_up, listed in rows}

    def problems(self) -> list[str]:
        """Problems that SQLite finds in the file, at most a hundred."""
        return [text for (text,) in self._rows("PRAGMA integrity_check") if text != "ok"]

    def rows(self, table: Literal["done", "ledger"]) -> Iterator[tuple[Any, ...]]:
        """(source, id, revision, ..., document) as stored, for checks."""
        yield from self._rows(f"SELECT {', '.join(COLUMNS[table][:-1])} FROM {table}")  # noqa: S608  # the names are ours

    def changed(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """(table, row) of each row whose checksum differs."""
        with self._sqlite_errors():
            yield from changed(self._database)

    def check_sums(self) -> None:
        """StartError if the checksum of a row differs."""
        for table, row in self.changed():
            place = ascii("/".join(str(part) for part in row[:2]))[1:-1][:200]
            raise StartError(
                f"{self._path}: the record of {place} in `{table}` is not what was written there (its checksum "
                "differs); run `filterzoo doctor --repair`"
            )

    def remove(self, table: str, row: tuple[Any, ...]) -> None:
        """Remove a row from `changed`."""
        with self.together():
            where = " AND ".join(f"{name} IS ?" for name in COLUMNS[table])
            self._database.execute(f"DELETE FROM {table} WHERE {where}", row)  # noqa: S608  # the names are ours

    def check_fields(self) -> None:
        """NewerJournal if a record has an unknown field.

        Unreadable records, and those whose checksum differs, are skipped.
        """
        wrong = {row[:-1] for _, row in self.changed()}
        readers: dict[Literal["done", "ledger"], Callable[[str], object]] = {"done": done_of, "ledger": entry_of}
        for table, read in readers.items():
            for row in self.rows(table):
                if row in wrong:
                    continue
                try:
                    read(row[-1])
                except UnknownFields as error:
                    raise NewerJournal(_newer(self._path, str(error))) from error
                except UNREADABLE:
                    continue

    def check_records(self) -> None:
        """Raise the errors of `done` and `ledger` now, so that a crawl does not fail at its end."""
        self.check_sums()
        for _record in chain(self.done(), self.ledger()):
            pass

    def fragments(self) -> Iterator[str]:
        """The names of all fragments of finished checkpoints."""
        for layers, filters in self._rows(
            "SELECT json_extract(document, '$.layers_fragment'), json_extract(document, '$.filters_fragment') FROM done"
        ):
            yield str(layers)
            if filters is not None:
                yield str(filters)

    def knows(self, checkpoint: Checkpoint) -> bool:
        """Whether the checkpoint has any record."""
        key = (checkpoint.source, checkpoint.id, checkpoint.revision)
        query = "SELECT 1 FROM {} WHERE source = ? AND id = ? AND revision = ?"
        return any(any(self._rows(query.format(table), key)) for table in ("done", "ledger"))

    def forget(self, source: str, ident: str, revision: str) -> None:
        """Remove the checkpoint from the journal: the next crawl processes it again."""
        with self.together():
            self._forget((source, ident, revision))

    def forget_refusals(self, entries: Iterable[LedgerEntry]) -> None:
        """Remove these entries of checkpoints from the ledger, all or none: the next crawl retries them."""
        keys = [(entry.source, entry.id, entry.revision) for entry in entries]
        with self.together():
            self._database.executemany("DELETE FROM ledger WHERE source = ? AND id = ? AND revision = ?", keys)

    def done(self) -> Iterator[Done]:
        """Every finished checkpoint, sorted by source, id and revision."""
        for (document,) in self._rows("SELECT document FROM done ORDER BY source, id, revision"):
            with self._record_errors():
                done = done_of(document)
            yield done

    def ledger(self, most: int | None = None) -> Iterator[LedgerEntry]:
        """Every entry of the ledger, or the first ones, by source, id and revision; whole plugins first."""
        for document in self._ledger_documents(most):
            with self._record_errors():
                entry = entry_of(document)
            yield entry

    def ledger_as_json(self, most: int) -> Iterator[str]:
        """The first entries of the ledger, checked as by `ledger`, each as a JSON object on one line."""
        with self._record_errors():
            for document in self._ledger_documents(most):
                yield json_of_entry(document)

    def _ledger_documents(self, most: int | None) -> Iterator[str]:
        plugins = self._rows("SELECT source, 0, document FROM ledger WHERE id IS NULL ORDER BY source, document")
        checkpoints = self._rows(
            "SELECT source, 1, document FROM ledger WHERE id IS NOT NULL ORDER BY source, id, revision"
        )
        for _source, _is_checkpoint, document in islice(merge(plugins, checkpoints, key=_whole_plugins_first), most):
            yield document

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Everything recorded in the block is one durable transaction, or part of the enclosing one."""
        if self._database.in_transaction:
            yield
            return
        with self._sqlite_errors(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    def _rows(self, query: str, parameters: tuple[str | int | None, ...] = ()) -> Iterator[tuple[Any, ...]]:
        with self._sqlite_errors():
            yield from self._database.execute(query, parameters)

    @contextlib.contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        """Converts errors of SQLite to one line that names the journal."""
        try:
            yield
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError as error:
            advice = "free space and run the same command again, or see `filterzoo doctor`"
            raise StorageFailed(f"{self._path}: the journal failed: {error}; {advice}") from error

    @contextlib.contextmanager
    def _record_errors(self) -> Iterator[None]:
        """Converts errors of a record to one line that names the journal."""
        try:
            yield
        except UnknownFields as error:
            raise NewerJournal(_newer(self._path, str(error))) from error
        except UNREADABLE as error:
            raise StartError(
                f"{self._path}: a record cannot be read ({type(error).__name__}); run `filterzoo doctor`"
            ) from error

    def _forget(self, key: tuple[str, str, str]) -> None:
        for table in ("done", "ledger"):
            self._database.execute(f"DELETE FROM {table} WHERE source = ? AND id = ? AND revision = ?", key)  # noqa: S608  # the table names are ours


def _whole_plugins_first(row: tuple[Any, ...]) -> tuple[Any, ...]:
    source, is_checkpoint, _document = row
    return source, is_checkpoint


def _time(stored: object) -> str | None:
    """A time as `record_sources` wrote it; None for anything else."""
    try:
        return str(stored) if datetime.fromisoformat(str(stored)).tzinfo is not None else None
    except ValueError:
        return None


def _newer(path: Path, why: str) -> str:
    return f"{path}: was written by a newer version ({why}); upgrade filterzoo, or name another --workdir"
