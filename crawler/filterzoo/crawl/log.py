"""The log of a crawl: a progress bar on a terminal, dated lines elsewhere, or a JSON object for each event."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from filterzoo.crawl.executor import Running
from filterzoo.crawl.listing_progress import ListingProgress
from filterzoo.crawl.pipeline import Event
from filterzoo.crawl.task import Task
from filterzoo.errors import Reason
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.reporting.counts import counted
from filterzoo.reporting.levels import Level, LogFormat
from filterzoo.reporting.summary import KEPT_FAILURES, CrawlRun
from filterzoo.reporting.terminal import console, printable, unless_closed

PULSE = 30.0
"""Seconds between two lines on progress, without a terminal."""
SHOWN_NODES = 10
"""Most machines with a line of their own."""


class CrawlLog:
    """Counts the events of a crawl and shows them on standard error."""

    def __init__(self, level: Level = Level.NEWS, form: LogFormat = LogFormat.TEXT) -> None:
        self._console = console(to_stderr=True)
        self._level = level
        self._form = form
        self._bar: Progress | None = None
        self._started = time.time()
        self._pulse = time.monotonic()
        self._failures: list[LedgerEntry] = []
        self._shown_failures: set[tuple[str, str]] = set()
        self._same = 0
        self.new = self.known = self.skipped = self.failed = 0
        self.reasons: Counter[str] = Counter()
        """Reason -> number of failures."""

    def __enter__(self) -> Self:
        if self._console.is_terminal and self._form is LogFormat.TEXT and self._level >= Level.NEWS:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._bar.add_task("discovering", total=None)
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._same and self._level and self._form is LogFormat.TEXT:
            self._print(f"failed   {self._same:,} more, for the same reasons at the same places")

    def run(self) -> CrawlRun:
        """The counts of the crawl until now."""
        return CrawlRun(
            started=self._started,
            seconds=time.time() - self._started,
            new=self.new,
            known=self.known,
            skipped=self.skipped,
            failed=self.failed,
            failures=tuple(self._failures),
            reasons=dict(self.reasons),
        )

    def listing(self, listing: ListingProgress) -> None:
        """Show the progress of discovery."""
        at = f", at {printable(listing.source)}" if listing.source else ""
        counts = f"{listing.documents:,} documents and pages, {counted(listing.checkpoints, 'checkpoint')} found{at}"
        if self._bar is not None:
            if not (self.new or self.known or self.failed):
                self._bar.update(self._bar.task_ids[0], description=f"discovering: {counts}")
        elif self._level >= Level.NEWS and time.monotonic() - self._pulse > PULSE:
            self._pulse = time.monotonic()
            if self._form is LogFormat.JSON:
                self._print(json.dumps({"time": _now(), "event": "listing", **asdict(listing)}))
            else:
                self._print(f"listing  {counts}")

    def running(self, running: Running) -> None:
        """Show the running checkpoints of each machine."""
        if self._bar is not None:
            self._show_nodes(running, self._bar)
        elif self._level >= Level.NEWS and time.monotonic() - self._pulse > PULSE:
            self._pulse = time.monotonic()
            if self._form is LogFormat.JSON:
                run = {"new": self.new, "failed": self.failed, "reasons": self.reasons, "rate": self._rate()}
                self._print(json.dumps({"time": _now(), "event": "running", **run, **asdict(running)}))
            else:
                nodes = [f"{printable(node, 60)} {len(names)}" for node, names in running.nodes.items()]
                nodes = [
                    *nodes[:SHOWN_NODES],
                    *([f"{len(nodes) - SHOWN_NODES} nodes more"] if nodes[SHOWN_NODES:] else []),
                ]
                self._print(f"running  {', '.join(nodes) or 'nothing yet'}; {running.waiting} wait; {self._counts()}")

    def _show_nodes(self, running: Running, bar: Progress) -> None:
        """A line for each node below the bar."""
        shown = list(running.nodes.items())[:SHOWN_NODES]
        lines = [f"  {printable(node, 40)}: {len(names)} · {printable(names[0], 60)}" for node, names in shown]
        rest = len(running.nodes) - len(shown)
        lines.append(f"  {f'{rest} nodes more; ' if rest else ''}{running.waiting} checkpoints wait")
        first, *others = bar.task_ids
        for task in others[len(lines) :]:
            bar.remove_task(task)
        for line, task in zip_longest(lines, others[: len(lines)]):
            if task is None:
                bar.add_task(line, total=None)
            else:
                bar.update(task, description=line)
        bar.update(first, description=self._counts())

    def _counts(self) -> str:
        why = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common())
        failed = f"{self.failed} failed" + (f" ({why})" if why else "")
        return f"{self.new} new, {self.known} known, {failed}, {self._rate():.1f} a second"

    def _rate(self) -> float:
        """Checkpoints processed per second since the start, failures included."""
        return (self.new + self.failed) / max(1e-3, time.time() - self._started)

    def show(self, event: Event) -> None:
        """Count and show an event."""
        self._count(event)
        if self._bar is not None:
            name = _name_of(event.outcome)
            self._bar.update(self._bar.task_ids[0], description=f"{self._counts()} · {printable(name, 60)}")
        if _level_of(event) > self._level:
            return
        if self._form is LogFormat.JSON:
            self._print(json.dumps({"time": _now(), **_record(event)}))
        elif not self._was_shown(event.outcome) and not (self._bar is not None and isinstance(event.outcome, Done)):
            self._print(_line(event))

    def _count(self, event: Event) -> None:
        outcome = event.outcome
        self.new += event.is_new and isinstance(outcome, Done)
        self.known += not event.is_new
        if isinstance(outcome, LedgerEntry):
            self.skipped += not outcome.is_failure
            self.failed += outcome.is_failure
            if outcome.is_failure:
                self.reasons[str(outcome.reason)] += 1
            if outcome.is_failure and len(self._failures) < KEPT_FAILURES:
                self._failures.append(outcome)

    def _print(self, line: str) -> None:
        dated = self._console.is_terminal or self._form is LogFormat.JSON
        with unless_closed():
            self._console.print(line if dated else f"{_now()} {line}")

    def _was_shown(self, outcome: Done | LedgerEntry | Task) -> bool:
        """Whether the same failure was shown before: a host that is down fails for all of its files."""
        if not isinstance(outcome, LedgerEntry) or outcome.reason is not Reason.FETCH_FAILED or not outcome.where:
            return False
        failure = outcome.where, outcome.detail
        is_known = failure in self._shown_failures
        self._same += is_known
        self._shown_failures.add(failure)
        return is_known


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _level_of(event: Event) -> Level:
    """The lowest verbosity at which the event is shown."""
    if isinstance(event.outcome, LedgerEntry) and event.outcome.is_failure:
        return Level.FAILURES
    return Level.NEWS if event.is_new or event.changed else Level.ALL


def _word(event: Event) -> str:
    if isinstance(event.outcome, LedgerEntry):
        return "failed" if event.outcome.is_failure else "skipped"
    if event.is_new:
        return "done"
    return "changed" if event.changed else "known"


def _name_of(outcome: Done | LedgerEntry | Task) -> str:
    if isinstance(outcome, LedgerEntry):
        return outcome.source if outcome.id is None else f"{outcome.source}/{outcome.id}"
    return f"{outcome.checkpoint.source}/{outcome.checkpoint.id}"


def _line(event: Event) -> str:
    """The event for people, with control characters escaped."""
    outcome = event.outcome
    start = f"{_word(event):8} {printable(_name_of(outcome), 240)}"
    if isinstance(outcome, LedgerEntry):
        where = f" (at {printable(outcome.where)})" if outcome.where else ""
        return f"{start}: {outcome.reason}: {printable(outcome.detail, 300)}{where}"
    if isinstance(outcome, Done) and event.is_new:
        filters = counted(sum(outcome.filters_by_kernel.values()), "filter")
        return f"{start}: {counted(outcome.n_layers, 'layer')}, {filters}"
    return f"{start}: {', '.join(event.changed)}" if event.changed else start


def line_of_entry(entry: LedgerEntry) -> str:
    """A skip or failure with its reason, for people."""
    return _line(Event(entry, is_new=True))


def _record(event: Event) -> dict[str, Any]:
    """The event for machines."""
    outcome = event.outcome
    if isinstance(outcome, LedgerEntry):
        return {"event": _word(event), **asdict(outcome)}
    one = outcome.checkpoint
    record: dict[str, Any] = {"event": _word(event), "source": one.source, "id": one.id, "revision": one.revision}
    if isinstance(outcome, Done) and event.is_new:
        record |= {"layers": outcome.n_layers, "filters": outcome.filters_by_kernel, "bytes": outcome.size}
    return record | ({"facts": list(event.changed)} if event.changed else {})
