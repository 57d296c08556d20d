"""filterzoo status: what is done, skipped and failed in a work folder, by reason and source."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

import typer

from filterzoo.commands.options import DEFAULT, JsonOption, StoreOption, WorkdirOption
from filterzoo.errors import Reason
from filterzoo.outcome import LedgerEntry
from filterzoo.reporting.summary import Summary, summarise
from filterzoo.reporting.terminal import cell, console, printable, table
from filterzoo.store.journal import Journal
from filterzoo.store.shared_journal import fetch_journal
from filterzoo.store.workfolder import WorkFolder

SHOWN = 20
"""Most ledger entries that are listed."""
KEPT = 100_000
"""Most ledger entries that --json prints."""


def status(workdir: WorkdirOption = DEFAULT, *, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show what is done, skipped and failed, by reason and source; with --store, what its journal says."""
    work = WorkFolder(workdir, store)
    if store is not None:
        fetch_journal(work)
    with work.existing_journal(read_only=True) as journal:
        summary = summarise(journal)
        if as_json:
            typer.echo(_document(journal, summary))
            return
        show(summary)
        _show_ledger(journal.ledger(SHOWN), summary.reasons.total())


def show(summary: Summary) -> None:
    """The counts as tables."""
    out = console()
    sources = table("source", "done", "skipped", "failed", "filters", numbers=("done", "skipped", "failed", "filters"))
    for name, counts in sorted(summary.sources.items()):
        sources.add_row(cell(name), *(f"{n:,}" for n in (counts.done, counts.skipped, counts.failed, counts.filters)))
    out.print(sources)
    if summary.filters:
        largest = sorted(summary.filters.items(), key=lambda item: -item[1])
        out.print("filters by kernel: " + ", ".join(f"{kernel} {count:,}" for kernel, count in largest[:12]))
    if summary.reasons:
        reasons = table("reason", "count", "meaning", numbers=("count",))
        for reason, count in summary.reasons.most_common():
            reasons.add_row(reason, str(count), meaning(Reason(reason)))
        out.print(reasons)
    for name, last in sorted(summary.not_listed.items()):
        out.print(f"not listed: {printable(name)}; {f'it last was at {last}' if last else 'it never was'}")
    if summary.again:
        out.print(_next_retries(summary))


def _next_retries(summary: Summary) -> str:
    """What the next run retries, and from when, if hosts asked to wait."""
    sources = ", ".join(f"{printable(name)} {count:,}" for name, count in sorted(summary.again.items()))
    text = f"tried again when the same `filterzoo crawl` runs next: {summary.again.total():,} ({sources})"
    if summary.not_before:
        last = max(summary.not_before)
        text += f"; {summary.not_before.total():,} of them not before {last}, when their hosts accept requests again"
    return text


def _document(journal: Journal, summary: Summary) -> str:
    """What --json prints: the counts, at most `KEPT` entries of the ledger, and the number of the others."""
    kept = list(journal.ledger_as_json(KEPT))
    counts = json.dumps(summary.document() | {"ledger_left_out": summary.reasons.total() - len(kept)})
    return f'{counts[:-1]}, "ledger": [{", ".join(kept)}]}}'


def meaning(reason: Reason) -> str:
    """A reason in a few words."""
    return _MEANINGS[reason]


def _show_ledger(entries: Iterator[LedgerEntry], count: int) -> None:
    """The first of `count` entries."""
    out = console()
    for entry in islice(entries, SHOWN):
        name = entry.source if entry.id is None else f"{entry.source}/{printable(entry.id)}"
        where = f" (at {printable(entry.where)})" if entry.where else ""
        until = f"; not before {entry.not_before}" if entry.not_before else ""
        out.print(f"{entry.reason}: {name}: {entry.stage}: {printable(entry.detail, 300)}{where}{until}")
    if count > SHOWN:
        out.print(f"... and {count - SHOWN} more; `filterzoo publish` writes all of them to the `skipped` table")


_MEANINGS = {
    Reason.LICENCE: "the manifest does not allow its licence",
    Reason.LICENCE_UNKNOWN: "no known licence in zoo or file, and the manifest skips such ones",
    Reason.TOO_LARGE: "larger than limits.checkpoint_bytes",
    Reason.TOO_MANY_FILTERS: "more filters than limits.filters_per_checkpoint",
    Reason.GATED: "the zoo asks for an agreement or a token",
    Reason.REMOVED: "listed, but gone",
    Reason.DUPLICATE: "its zoo lists the same file under another name, which is taken",
    Reason.TAKEN_DOWN: "removed at its owner's request",
    Reason.FETCH_FAILED: "the network or server failed; tried again next time",
    Reason.CHANGED: "it changed while it was read; tried again next time",
    Reason.HASH_MISMATCH: "not the bytes of the published hash; tried again next time",
    Reason.UNKNOWN_FORMAT: "no model file",
    Reason.UNSUPPORTED: "a variant of a known format that is not read",
    Reason.MALFORMED: "its structure contradicts itself",
    Reason.DAMAGED: "a checksum does not fit",
    Reason.UNSAFE: "it reaches outside itself",
    Reason.LIMIT: "reading it would pass a limit of time, memory or nesting",
    Reason.CRASHED: "the process that read it died; tried again next time",
    Reason.PLUGIN_ERROR: "a plugin raised an error; tried again next time",
}
