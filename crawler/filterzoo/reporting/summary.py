"""Counts of a work folder: what is done, skipped and failed, by reason and source; for people and for machines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from filterzoo.outcome import LedgerEntry
from filterzoo.store.journal import Journal


@dataclass(slots=True)
class SourceCounts:
    """One source's checkpoints, and its filters of all kernel sizes together."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    filters: int = 0


@dataclass(slots=True)
class Summary:
    """The state of a work folder. A plugin that failed as a whole counts as one failed entry of its source."""

    sources: dict[str, SourceCounts] = field(default_factory=dict)
    filters: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    layers: int = 0
    again: Counter[str] = field(default_factory=Counter)
    """Source -> number of its entries that the next run retries."""
    listed: dict[str, str] = field(default_factory=dict)
    """Sources that were listed to their end in the last run -> time, in UTC."""
    not_listed: dict[str, str | None] = field(default_factory=dict)
    """Other sources -> time of their last complete listing; None for never."""
    not_before: Counter[str] = field(default_factory=Counter)
    """Time in UTC -> number of these whose host asked to wait until then."""

    @property
    def failed(self) -> int:
        """Number of failures."""
        return sum(counts.failed for counts in self.sources.values())

    def document(self) -> dict[str, Any]:
        """What `--json` prints."""
        columns = ("done", "skipped", "failed")
        return {
            "checkpoints": {
                column: sum(getattr(counts, column) for counts in self.sources.values()) for column in columns
            },
            "filters": dict(sorted(self.filters.items())),
            "reasons": dict(sorted(self.reasons.items())),
            "sources": {
                name: {column: getattr(counts, column) for column in (*columns, "filters")}
                for name, counts in sorted(self.sources.items())
            },
            "not_listed": dict(sorted(self.not_listed.items())),
            "tried_again": {
                "total": self.again.total(),
                "sources": dict(sorted(self.again.items())),
                "not_before": dict(sorted(self.not_before.items())),
            },
        }


KEPT_FAILURES = 1000
"""Most failures of a run that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CrawlRun:
    """The counts of one crawl, for reports. `failures` are the first of the `failed`, in order."""

    started: float
    """Seconds since 1970."""
    seconds: float
    new: int
    known: int
    skipped: int
    failed: int
    failures: tuple[LedgerEntry, ...] = ()
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Reason -> number of failures."""

    def document(self) -> dict[str, Any]:
        """The part of `crawl --json` for this run."""
        return {
            "seconds": round(self.seconds, 3),
            "new": self.new,
            "known": self.known,
            "skipped": self.skipped,
            "failed": self.failed,
            "failures": [asdict(entry) for entry in self.failures],
            "failures_left_out": self.failed - len(self.failures),
        }


def summarise(journal: Journal) -> Summary:
    """Count the entries of the journal."""
    summary = Summary()
    for done in journal.done():
        counts = summary.sources.setdefault(done.checkpoint.source, SourceCounts())
        counts.done += 1
        counts.filters += sum(done.filters_by_kernel.values())
        summary.layers += done.n_layers
        summary.filters.update(done.filters_by_kernel)
    for source, is_whole, reason, number in journal.refusals():
        counts = summary.sources.setdefault(source, SourceCounts())
        if is_whole or not reason.is_skip:
            counts.failed += number
        else:
            counts.skipped += number
        summary.reasons[str(reason)] += number
    for entry in journal.tried_again():
        summary.again[entry.source] += 1
        if entry.not_before:
            summary.not_before[entry.not_before] += 1
    for source, (is_up, last) in journal.sources().items():
        if is_up and last:
            summary.listed[source] = last
        else:
            summary.not_listed[source] = last
    return summary
