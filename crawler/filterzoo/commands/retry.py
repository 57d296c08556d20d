"""filterzoo retry: makes the next crawl retry permanent failures."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections import Counter
from typing import Annotated

import typer

from filterzoo.commands.options import DEFAULT, JsonOption, StoreOption, WorkdirOption
from filterzoo.errors import Reason, StartError
from filterzoo.outcome import LedgerEntry
from filterzoo.reporting.terminal import console, printable
from filterzoo.store.journal import Journal
from filterzoo.store.shared_journal import check_is_last, copy_journal
from filterzoo.store.workfolder import WorkFolder


def retry(
    workdir: WorkdirOption = DEFAULT,
    *,
    store: StoreOption = None,
    reason: Annotated[
        list[Reason] | None,
        typer.Option("--reason", help="Only what was left out for this reason; several may be given."),
    ] = None,
    source: Annotated[str | None, typer.Option("--source", metavar="SOURCE", help="Only of this source.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be tried again; change nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let the next `filterzoo crawl` try again what failed for good, such as files of a format that is now read.

    Without --reason all failures are taken, but nothing that was skipped on purpose; what failed for a time is tried
    again anyway. Exit code 0: said what is tried again, also where that is nothing; 2: there is no such source or work
    folder; 3: a crawl is working in it.
    """
    work = WorkFolder(workdir, store)
    with contextlib.nullcontext() if dry_run else work.held():
        if not dry_run:
            check_is_last(work)
        with work.existing_journal(read_only=dry_run) as journal:
            if source is not None:
                _check_source(source, journal)
            entries = [entry for entry in journal.ledger() if _is_selected(entry, source, reason)]
            if not dry_run:
                journal.forget_refusals(entries)
        if not dry_run:
            copy_journal(work)
    if as_json:
        found = [{"source": e.source, "id": e.id, "revision": e.revision, "reason": e.reason} for e in entries]
        typer.echo(json.dumps({"workdir": str(workdir), "dry_run": dry_run, "tried_again": found}))
    else:
        _show(entries, dry_run=dry_run)


def _is_selected(entry: LedgerEntry, source: str | None, reasons: list[Reason] | None) -> bool:
    """Whether the options select the entry. Entries of whole plugins are not selected: each crawl loads them again."""
    if entry.id is None or source not in {None, entry.source}:
        return False
    return entry.reason in reasons if reasons else not entry.reason.is_skip


def _check_source(source: str, journal: Journal) -> None:
    """StartError for a source without any entry."""
    known = sorted({entry.source for entry in journal.ledger()} | {done.checkpoint.source for done in journal.done()})
    if source in known:
        return
    near = difflib.get_close_matches(source, known, 1)
    meant = f"did you mean {near[0]!r}" if near else f"known: {', '.join(map(repr, known)) or 'none'}"
    raise StartError(f"--source: nothing was crawled of {source!r}; {meant}")


def _show(entries: list[LedgerEntry], *, dry_run: bool) -> None:
    out = console()
    if not entries:
        out.print("nothing to try again: no checkpoint failed in this way")
        return
    counts = Counter((entry.source, str(entry.reason)) for entry in entries)
    for (source, reason), count in sorted(counts.items()):
        out.print(f"{printable(source)}: {reason}: {count:,}")
    word = "would be" if dry_run else "is"
    out.print(f"{len(entries):,} in all {word} tried again when the same `filterzoo crawl` runs next")
