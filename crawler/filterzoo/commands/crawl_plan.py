"""`filterzoo crawl --dry-run`: what would be crawled and left out, and what it would cost; no weight is fetched."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from filterzoo import plugins as plugin_loading
from filterzoo.crawl.log import CrawlLog, line_of_entry
from filterzoo.crawl.pipeline import Order, dry_run, planned_sources
from filterzoo.crawl.task import Task
from filterzoo.errors import StartError
from filterzoo.outcome import LedgerEntry
from filterzoo.reporting.costs import Amount, Cost, Room, cost_of, parse_rate, read_prices, room_of
from filterzoo.reporting.levels import Level
from filterzoo.reporting.summary import KEPT_FAILURES
from filterzoo.reporting.terminal import cell, console, printable, table

PLAN_FAILURES = 20
"""Most failures of a dry run that are listed."""


def show_plan(
    order: Order,
    plugins: plugin_loading.Plugins,
    rate: str | None,
    prices: Path | None,
    *,
    asks_sizes: bool = False,
    as_json: bool,
) -> None:
    """By source: checkpoints, bytes, licences, what would be left out and why; then the cost.

    Only counts and the first failures are kept, so that memory does not grow with the listing.
    """
    bytes_a_second = None if rate is None else _rate(rate)
    table_of_prices = None if prices is None else read_prices(prices)
    sources = {name: _nothing() for name in planned_sources(order, plugins)}
    failures: list[LedgerEntry] = []
    failed, amount = 0, Amount()
    with CrawlLog(Level.NOTHING if as_json else Level.NEWS) as log:
        for found in dry_run(order, plugins, log.listing, asks_sizes=asks_sizes):
            counts = sources.setdefault(
                found.checkpoint.source if isinstance(found, Task) else found.source, _nothing()
            )
            if isinstance(found, Task):
                amount.add(found)
                _count(counts, found)
            else:
                counts["left_out"][str(found.reason)] += 1
                failed += found.is_failure
                if found.is_failure and failed <= KEPT_FAILURES:
                    failures.append(found)
    cost = cost_of(amount, bytes_a_second, table_of_prices)
    room = room_of(amount, order.work)
    if as_json:
        parts = {"failures": [_failure(entry) for entry in failures], "failures_left_out": failed - len(failures)}
        typer.echo(json.dumps({"sources": sources, **parts, "cost": cost.document(), "room": asdict(room)}))
    else:
        _print_plan(sources)
        _print_failures(failures, failed)
        _print_cost(amount, cost, asks_sizes=asks_sizes)
        _print_room(amount, room, order)
    if failed:
        raise typer.Exit(1)


def _rate(stated: str) -> float:
    """The rate as a number; StartError for an invalid one."""
    try:
        return parse_rate(stated)
    except ValueError as error:
        raise StartError(f"--rate: {error}") from error


def _count(counts: dict[str, Any], task: Task) -> None:
    sizes = [artifact.size for artifact in task.checkpoint.artifacts]
    counts["checkpoints"] += 1
    counts["bytes"] += sum(size or 0 for size in sizes)
    counts["unknown_sizes"] += None in sizes
    counts["licences"][task.checkpoint.licence or "unknown"] += 1


def _print_cost(amount: Amount, cost: Cost, *, asks_sizes: bool) -> None:
    """Print the cost on one line, if there is anything to fetch."""
    if not amount.checkpoints:
        return
    words: list[tuple[float | None, Callable[[float], str]]] = [
        (cost.network_hours, lambda hours: f"{hours:,.2f} hours at the rate"),
        (cost.core_hours, lambda hours: f"{hours:,.2f} core hours"),
        (cost.money, lambda money: f"{money:,.2f} {cost.currency}"),
    ]
    parts = [f"{amount.bytes:,} bytes", f"{cost.requests:,} requests"]
    parts += [say(number) for number, say in words if number is not None]
    more = f"; at least, since the sizes of {amount.unknown_sizes:,} are unknown" if amount.unknown_sizes else ""
    more += ", which --sizes asks for" if more and not asks_sizes else ""
    console().print(f"to fetch: {', '.join(parts)}{more}")


def _print_room(amount: Amount, room: Room, order: Order) -> None:
    """Print the required disk space on one line, unless nothing is stored or the store is shared."""
    if amount.checkpoints and room.free is not None:
        place = printable(str(order.work.path), 200)
        need = f"to keep: about {room.bytes:,} bytes, if all is convolutions in float32"
        warning = ", which may be too little" if room.may_be_too_little else ""
        console().print(f"{need}; {room.free:,} are free in {place}{warning}")


def _failure(entry: LedgerEntry) -> dict[str, str | None]:
    """A failure of a dry run, for machines."""
    named = {"source": entry.source, "id": entry.id, "revision": entry.revision, "reason": str(entry.reason)}
    return named | {"detail": entry.detail, "where": entry.where, "not_before": entry.not_before}


def _print_failures(failures: list[LedgerEntry], failed: int) -> None:
    """What could not be listed, and why; identical lines are printed once. failed: the total number of failures."""
    out = console()
    lines = list(dict.fromkeys(line_of_entry(entry) for entry in failures))
    for line in lines[:PLAN_FAILURES]:
        out.print(line)
    more = len(lines) - len(lines[:PLAN_FAILURES]) + failed - len(failures)
    if more:
        out.print(f"... and {more:,} more; --json names the first {KEPT_FAILURES:,}")


def _nothing() -> dict[str, Any]:
    """The plan for a source that lists nothing."""
    return {"checkpoints": 0, "bytes": 0, "unknown_sizes": 0, "licences": Counter(), "left_out": Counter()}


def _print_plan(sources: dict[str, dict[str, Any]]) -> None:
    rows = table("source", "checkpoints", "bytes", "licences", "left out", numbers=("checkpoints", "bytes"))
    for name, counts in sorted(sources.items()):
        licences = ", ".join(f"{licence} {number}" for licence, number in sorted(counts["licences"].items()))
        left_out = ", ".join(f"{reason} {number}" for reason, number in sorted(counts["left_out"].items()))
        rows.add_row(name, str(counts["checkpoints"]), _size(counts), cell(licences, longest=200), left_out)
    console().print(rows)


def _size(counts: dict[str, Any]) -> str:
    """The bytes that the zoo states, and the number of checkpoints of unknown size."""
    if counts["unknown_sizes"] == counts["checkpoints"] and not counts["bytes"] and counts["checkpoints"]:
        return "unknown"
    return f"{counts['bytes']:,}" + (f" + {counts['unknown_sizes']} unknown" if counts["unknown_sizes"] else "")
