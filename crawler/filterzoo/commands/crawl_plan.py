"""What `filterzoo crawl --dry-run` shows."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import typer

from filterzoo.crawl.discovery import Task
from filterzoo.crawl.log import CrawlLog, line_of_entry
from filterzoo.crawl.pipeline import dry_run, planned_sources
from filterzoo.outcome import LedgerEntry
from filterzoo.reporting.levels import Level
from filterzoo.reporting.terminal import cell, console, table

if TYPE_CHECKING:
    from filterzoo.crawl.pipeline import Order
    from filterzoo.plugins import Plugins

PLAN_FAILURES = 20
"""Most failures of a dry run that are shown one by one."""


def show_plan(order: Order, plugins: Plugins, *, as_json: bool) -> None:
    """What would be crawled, by source: checkpoints, bytes, licences, and what would be left out and why."""
    sources = {name: _nothing() for name in planned_sources(order, plugins)}
    failures: list[LedgerEntry] = []
    with CrawlLog(Level.NOTHING if as_json else Level.NEWS) as log:
        plan = list(dry_run(order, plugins, log.listing))
    for found in plan:
        counts = sources.setdefault(found.checkpoint.source if isinstance(found, Task) else found.source, _nothing())
        if isinstance(found, LedgerEntry):
            counts["left_out"][str(found.reason)] += 1
            failures += [found] if found.is_failure else []
            continue
        sizes = [artifact.size for artifact in found.checkpoint.artifacts]
        counts["checkpoints"] += 1
        counts["bytes"] += sum(size or 0 for size in sizes)
        counts["unknown_sizes"] += None in sizes
        counts["licences"][found.checkpoint.licence or "unknown"] += 1
    if as_json:
        typer.echo(json.dumps({"sources": sources, "failures": [_failure(entry) for entry in failures]}))
    else:
        _print_plan(sources)
        _print_failures(failures)
    if failures:
        raise typer.Exit(1)


def _failure(entry: LedgerEntry) -> dict[str, str | None]:
    """A failure of a dry run, for machines."""
    named = {"source": entry.source, "id": entry.id, "revision": entry.revision, "reason": str(entry.reason)}
    return named | {"detail": entry.detail, "where": entry.where, "not_before": entry.not_before}


def _print_failures(failures: list[LedgerEntry]) -> None:
    """What could not be listed, and why; the same words once."""
    out = console()
    lines = list(dict.fromkeys(line_of_entry(entry) for entry in failures))
    for line in lines[:PLAN_FAILURES]:
        out.print(line)
    if len(lines) > PLAN_FAILURES:
        out.print(f"... and {len(lines) - PLAN_FAILURES:,} more; --json names all of them")


def _nothing() -> dict[str, Any]:
    """The plan for a source that lists nothing."""
    return {"checkpoints": 0, "bytes": 0, "unknown_sizes": 0, "licences": Counter(), "left_out": Counter()}


def _print_plan(sources: dict[str, dict[str, Any]]) -> None:
    made = table("source", "checkpoints", "bytes", "licences", "left out", numbers=("checkpoints", "bytes"))
    for name, counts in sorted(sources.items()):
        licences = ", ".join(f"{licence} {number}" for licence, number in sorted(counts["licences"].items()))
        left_out = ", ".join(f"{reason} {number}" for reason, number in sorted(counts["left_out"].items()))
        made.add_row(name, str(counts["checkpoints"]), _size(counts), cell(licences, longest=200), left_out)
    console().print(made)


def _size(counts: dict[str, Any]) -> str:
    """The total of stated bytes, and the number of checkpoints without a stated size."""
    if counts["unknown_sizes"] == counts["checkpoints"] and not counts["bytes"] and counts["checkpoints"]:
        return "unknown"
    return f"{counts['bytes']:,}" + (f" + {counts['unknown_sizes']} unknown" if counts["unknown_sizes"] else "")
