"""Checks a work folder, and repairs it so that the next crawl repeats what is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from filterzoo.durable import sync
from filterzoo.errors import NewerJournal, StartError, StorageFailed
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.reporting.counts import counted
from filterzoo.store.fragment_checks import Unsound, check_filters, layer_rows
from filterzoo.store.fragments import FragmentStore
from filterzoo.store.journal import Journal
from filterzoo.store.restore import FRAGMENT, restore
from filterzoo.store.salvage import salvage
from filterzoo.store.shared_journal import check_is_last, copy_journal
from filterzoo.store.workfolder import WorkFolder

_ENTRY = TypeAdapter(LedgerEntry)
_DONE = TypeAdapter(Done)
CHANGED = "its record is not what was written: the checksum differs"


class Check(StrEnum):
    """The kinds of findings."""

    JOURNAL = "journal"
    """SQLite finds the file damaged, or it is lost; repaired by a new one from its readable rows and the fragments."""
    ENTRY = "entry"
    """A record of the journal cannot be read, or its checksum differs; repaired by setting it aside: it is restored
    from fragments, or its checkpoint is crawled again.
    """
    FRAGMENT = "fragment"
    """A done checkpoint's fragment is missing or damaged; repaired by forgetting the checkpoint."""
    ORPHAN = "orphan"
    """A fragment of no checkpoint, left by a killed crawl or an older revision; repaired by setting it aside."""
    LEFTOVER = "leftover"
    """A partial file of a killed crawl; repaired by removing it."""
    STRANGER = "stranger"
    """A foreign file among the fragments; left alone."""


@dataclass(frozen=True, slots=True)
class Ailment:
    """A problem, its location, and whether it is repaired. `where` may quote an untrusted name."""

    check: Check
    where: str
    detail: str
    mended: bool = False


@dataclass(slots=True)
class Diagnosis:
    """All findings, and the number of checked files."""

    findings: list[Ailment] = field(default_factory=list)
    checkpoints: int = 0
    fragments: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether nothing is left to repair."""
        return all(finding.mended for finding in self.findings)


def examine(work: WorkFolder, *, repair: bool = False) -> Diagnosis:
    """Check the whole work folder and, if requested, repair it.

    Removed fragments are kept in `fragments.aside`, records in `aside`. WorkFolderBusy while a crawl works there;
    StartError if there was no crawl; NewerJournal, before anything is changed, for a journal of a newer version.
    """
    with work.held():
        check_is_last(work)
        diagnosis = Diagnosis()
        for finding in _findings(work, diagnosis, repair=repair):
            diagnosis.findings.append(replace(finding, mended=repair and finding.check is not Check.STRANGER))
        if repair:
            copy_journal(work)
        return diagnosis


def _findings(work: WorkFolder, diagnosis: Diagnosis, *, repair: bool) -> Iterator[Ailment]:
    damage = _damage(work)
    yield from _leftovers(work, repair=repair)
    yield from damage
    if damage and not repair:
        return  # a damaged journal's references to fragments are unreliable
    if damage:
        salvage(work.journal_path)
    store = work.store()
    with work.journal() as journal:
        changed = list(journal.changed())
        yield from (Ailment(Check.ENTRY, _name(row[:-1]), f"{CHANGED} ({table})") for table, row in changed)
        if changed and not repair:
            return  # its references to fragments are unreliable too
        _remove(journal, work, changed)
        if (damage or changed) and (restored := restore(journal, store)):
            detail = f"{counted(restored, 'checkpoint')} put back, from fragments"
            yield Ailment(Check.JOURNAL, work.journal_path.name, detail)
        checked = _CheckedFragments(store)
        yield from _entries(journal, checked, diagnosis, work if repair else None)
        yield from _files(store, checked, diagnosis, repair=repair)


def _leftovers(work: WorkFolder, *, repair: bool) -> Iterator[Ailment]:
    if not work.scratch.is_dir():
        return
    for path in sorted(work.scratch.iterdir()):
        yield Ailment(Check.LEFTOVER, str(path.relative_to(work.path)), "an interrupted crawl left it half-written")
    if repair:
        shutil.rmtree(work.scratch)


def _damage(work: WorkFolder) -> list[Ailment]:
    """Problems of the journal's file; NewerJournal if it was written by a newer version."""
    if work.has_lost_journal:
        return [Ailment(Check.JOURNAL, work.journal_path.name, "is lost; the fragments are there")]
    try:
        with Journal(work.journal_path, read_only=True) as journal:
            problems = journal.problems()
            if not problems:
                journal.check_fields()
    except NewerJournal:
        raise
    except (StartError, StorageFailed) as error:
        problems = [str(error.__cause__ or error)]
    return [Ailment(Check.JOURNAL, work.journal_path.name, problem) for problem in problems]


@dataclass(slots=True)
class _CheckedFragments:
    """Checks each fragment once, and collects those that sound entries refer to."""

    store: FragmentStore
    problems: dict[str, str | None] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    needed: set[str] = field(default_factory=set)

    def problem(self, done: Done) -> str | None:
        """The first problem of the checkpoint's fragments."""
        names = [name for name in (done.layers_fragment, done.filters_fragment) if name is not None]
        self.named.update(names)
        for name in names:
            if name not in self.problems:
                self.problems[name] = self._look_at(done, name)
            if self.problems[name] is not None:
                return f"{name}: {self.problems[name]}"
        self.needed.update(names)
        return None

    def _look_at(self, done: Done, name: str) -> str | None:
        try:
            rows = layer_rows(self.store, done.layers_fragment)
            if name == done.filters_fragment:
                check_filters(self.store, name, rows)
            elif len(rows) != done.n_layers:
                return f"it has {len(rows)} layers, the journal says {done.n_layers}"
        except Unsound as error:
            return str(error)
        return None


def _entries(
    journal: Journal, checked: _CheckedFragments, diagnosis: Diagnosis, mended: WorkFolder | None
) -> Iterator[Ailment]:
    """Compare the journal's checkpoints with the store; checkpoints that do not match are forgotten."""
    lost: list[tuple[str, tuple[str, ...]]] = []
    for row in journal.rows("done"):
        diagnosis.checkpoints += 1
        finding = _entry_finding(row, checked)
        if finding is not None:
            lost.append(("done", row))
            yield finding
    for row in journal.rows("ledger"):
        try:
            _ENTRY.validate_json(row[-1])
        except ValidationError as error:
            lost.append(("ledger", row))
            yield Ailment(Check.ENTRY, _name(row), _first(error))
    if mended and lost:
        _keep(mended, lost)
        for _, (source, ident, revision, *_rest) in lost:
            if ident is None:
                journal.forget_plugin_failures()
            else:
                journal.forget(source, ident, revision)


def _remove(journal: Journal, work: WorkFolder, rows: list[tuple[str, tuple[str, ...]]]) -> None:
    """Set aside rows whose checksum differs."""
    if rows:
        _keep(work, rows)
        for table, row in rows:
            journal.remove(table, row)


def _keep(work: WorkFolder, rows: list[tuple[str, tuple[str, ...]]]) -> None:
    """Append records to a file before they are removed."""
    work.aside.mkdir(exist_ok=True)
    with (work.aside / "journal.jsonl").open("a", encoding="utf-8", errors="backslashreplace") as file:
        for table, row in rows:
            file.write(json.dumps({"table": table, "row": row}, default=repr) + "\n")
        sync(file)


def _entry_finding(row: tuple[str, ...], checked: _CheckedFragments) -> Ailment | None:
    try:
        done = _DONE.validate_json(row[-1])
    except ValidationError as error:
        return Ailment(Check.ENTRY, _name(row), _first(error))
    if row[:3] != (done.checkpoint.source, done.checkpoint.id, done.checkpoint.revision):
        return Ailment(Check.ENTRY, _name(row), "it describes another checkpoint")
    problem = checked.problem(done)
    return None if problem is None else Ailment(Check.FRAGMENT, _name(row), problem)


def _files(
    store: FragmentStore, checked: _CheckedFragments, diagnosis: Diagnosis, *, repair: bool
) -> Iterator[Ailment]:
    """Files in the store that belong to no checkpoint."""
    for path in store.paths():
        matched = FRAGMENT.fullmatch(path)
        diagnosis.fragments += matched is not None
        is_leftover = path.endswith(".part")
        if matched is None:
            detail = "an interrupted crawl left it half-written" if is_leftover else "it is no fragment"
            yield Ailment(Check.LEFTOVER if is_leftover else Check.STRANGER, f"fragments/{path}", detail)
        elif matched[2] not in checked.named:
            yield Ailment(Check.ORPHAN, f"fragments/{path}", "no checkpoint has it")
        is_needed = matched is None or matched[2] in checked.needed
        if repair and is_leftover:
            store.remove(path)
        elif repair and not is_needed:
            store.set_aside(path)


def _name(row: tuple[str, ...]) -> str:
    source, ident, revision = row[:3]
    return f"{source}/{ident}@{revision}"


def _first(error: ValidationError) -> str:
    (first, *_) = error.errors(include_url=False, include_input=False, include_context=False)
    return f"its record cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}"
