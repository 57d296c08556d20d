"""The copy of a work folder's journal in a shared store, from which another machine can continue.

The store holds `fragments/`, `journal.sqlite`, a copy of the journal that is at most `EVERY` seconds old (copying takes
at most a twentieth of the time), and `crawl.json`, which names the writing run. The run that started last continues; an
older run ends when it detects that. Records that a copy lacks are restored from the fragments; only refusals since the
last copy are repeated.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filterzoo.durable import sync, sync_folder
from filterzoo.errors import StartError, StorageFailed
from filterzoo.store.journal import Journal
from filterzoo.store.workfolder import WorkFolder

if TYPE_CHECKING:
    from filterzoo.store.objects.base import Objects

EVERY = 30.0
"""Least seconds between copies."""
_SHARE = 20
"""Time between copies, as a multiple of the duration of the last one."""
_JOURNAL = "journal.sqlite"
_RUN = "crawl.json"


@dataclass(frozen=True, slots=True)
class JournalWriter:
    """The crawl that writes to a store. token: unique for the run. host, started: for people."""

    token: str
    host: str
    started: str


@contextlib.contextmanager
def opened_journal(work: WorkFolder) -> Iterator[tuple[Journal, Callable[[], None]]]:
    """The journal for a crawl that holds the work folder, and a function to call after each outcome.

    The latter does nothing without a shared store. With a shared store, the journal is this folder's if its run was the
    last writer, otherwise the store's. StartError if the folder's own fragments are not in the store; the call raises
    StorageFailed if another run has taken over.
    """
    if work.store_url is None:
        with work.journal() as journal:
            yield journal, lambda: None
        return
    objects = _objects(work.store_url)
    run = JournalWriter(secrets.token_hex(16), socket.gethostname(), datetime.now(UTC).isoformat(timespec="seconds"))
    is_taken = _take_over(work, objects, run)
    with work.journal() as journal:
        if is_taken:
            from filterzoo.store.restore import restore  # noqa: PLC0415  # Arrow, which most commands do not need

            restore(journal, work.store())
        copies = _Copies(work, objects, journal, run)
        yield journal, copies.when_due
        copies.make()


def fetch_journal(work: WorkFolder) -> None:
    """Replace the work folder's journal with the store's, unless this folder's run was the last to write there.

    For commands that only read. StartError if the store has none.
    """
    if work.store_url is None:
        return
    objects = _objects(work.store_url)
    with work.held(used=False):
        found = _run(objects)
        if found is None or not objects.exists(_JOURNAL):
            raise StartError(f"{work.store_url}: no crawl has been here; run `filterzoo crawl MANIFEST --store` first")
        if work.remembered.get("run") != found.token or not work.journal_path.is_file():
            _download(work, objects)
            work.remember({"url": work.store_url, "run": None})


def check_is_last(work: WorkFolder) -> None:
    """StartError if another machine's crawl wrote to the store last: then this folder's journal is incomplete."""
    if work.store_url is not None:
        found = _run(_objects(work.store_url))
        if found is not None and found.token != work.remembered.get("run"):
            raise StartError(
                f"{work.path}: a crawl on {found.host} has used {work.store_url} since {found.started}; "
                "run this there, or `filterzoo crawl` here first"
            )


def copy_journal(work: WorkFolder) -> None:
    """Update the store's copy of the journal after a change without a crawl."""
    if work.store_url is not None and (run := work.remembered.get("run")):
        with work.journal() as journal:
            _Copies(work, _objects(work.store_url), journal, JournalWriter(run, "", "")).make()


def _take_over(work: WorkFolder, objects: Objects, run: JournalWriter) -> bool:
    """Make `run` the writer; whether the journal was taken from the store."""
    objects.check()
    remembered, found = work.remembered, _run(objects)
    has_journal = work.journal_path.is_file()
    if has_journal and remembered.get("url") != work.store_url and _has_done(work):
        elsewhere = remembered.get("url") or work.path / "fragments"
        raise StartError(
            f"{work.path}: its fragments are in {elsewhere}, not in {work.store_url}; choose another --workdir, and "
            "what the store holds is taken from there"
        )
    is_taken = found is not None and (found.token != remembered.get("run") or not has_journal)
    if is_taken:
        _download(work, objects)
    _put(work, objects, _RUN, json.dumps(asdict(run), sort_keys=True).encode())
    work.remember({"url": work.store_url, "run": run.token})
    return is_taken


def _has_done(work: WorkFolder) -> bool:
    with work.journal() as journal:
        return next(journal.done(), None) is not None


def _download(work: WorkFolder, objects: Objects) -> None:
    """Set the folder's journal aside and download the store's; a store may have fragments and no copy."""
    if work.journal_path.is_file():
        work.aside.mkdir(exist_ok=True)
        with work.journal():
            pass  # closing merges the write-ahead log into one file
        work.journal_path.replace(work.aside / f"journal-{secrets.token_hex(4)}.sqlite")
    if not objects.exists(_JOURNAL):
        return
    work.scratch.mkdir(parents=True, exist_ok=True)
    copy = work.scratch / f"{secrets.token_hex(8)}.sqlite"
    with objects.stream(_JOURNAL) as source, copy.open("wb") as sink:
        while part := source.read(4_000_000):
            sink.write(part)
        sync(sink)
    with Journal(copy) as journal:
        journal.check_records()
    copy.replace(work.journal_path)
    sync_folder(work.path)


class _Copies:
    """Copies a journal to the store, atomically replacing the last copy."""

    def __init__(self, work: WorkFolder, objects: Objects, journal: Journal, run: JournalWriter) -> None:
        self._work = work
        self._objects = objects
        self._journal = journal
        self._run = run
        self._due = time.monotonic() + EVERY

    def when_due(self) -> None:
        """Make a copy if the last one is old enough."""
        if time.monotonic() >= self._due:
            self.make()

    def make(self) -> None:
        """Make a copy; StorageFailed if another run writes to the store."""
        started = time.monotonic()
        now = _run(self._objects)
        if now is None or now.token != self._run.token:
            other = "somebody removed its crawl.json" if now is None else f"{now.host} took it over at {now.started}"
            raise StorageFailed(
                f"the store {self._work.store_url} is another crawl's now ({other}); this one ends, and nothing that "
                "it read is lost"
            )
        copy = _scratch_file(self._work)
        self._journal.copy_to(copy)
        self._objects.replace(copy, _JOURNAL)
        ended = time.monotonic()
        self._due = ended + max(EVERY, _SHARE * (ended - started))


def _objects(url: str) -> Objects:
    from filterzoo.store.objects.opening import open_objects  # noqa: PLC0415  # fsspec, which work folders alone do not need

    return open_objects(url)


def _run(objects: Objects) -> JournalWriter | None:
    """The run that writes to the store, None before the first."""
    try:
        found: dict[str, Any] = json.loads(objects.read(_RUN))
        return JournalWriter(str(found["token"]), str(found["host"]), str(found["started"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise StartError(
            f"--store: its {_RUN} cannot be read; remove it, and the journal is taken from there"
        ) from error


def _put(work: WorkFolder, objects: Objects, name: str, content: bytes) -> None:
    file = _scratch_file(work)
    file.write_bytes(content)
    objects.replace(file, name)


def _scratch_file(work: WorkFolder) -> Path:
    work.scratch.mkdir(parents=True, exist_ok=True)
    return work.scratch / secrets.token_hex(8)
