"""The progress of discovery, and which sources could be listed to their end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from filterzoo.crawl.task import Task
from filterzoo.network.health import utc
from filterzoo.outcome import LedgerEntry
from filterzoo.store.journal import Journal


@dataclass(slots=True)
class ListingProgress:
    """Progress of discovery: documents received, checkpoints found, and the source of the last checkpoint."""

    source: str = ""
    documents: int = 0
    checkpoints: int = 0


def ignore(_listing: ListingProgress) -> None:
    """Show nothing."""


class ListingWatch:
    """Counts the results of discovery, reports them to `on_listing`, and records how the listing of each source ended.

    down: sources of plugins that failed to load, which are never listed.
    """

    def __init__(
        self, on_listing: Callable[[ListingProgress], None] = ignore, down: frozenset[str] = frozenset()
    ) -> None:
        self._listing = ListingProgress()
        self._on_listing = on_listing
        self._down = down
        self._listed: dict[str, bool] = {}

    def document(self) -> None:
        """Count a document."""
        self._listing.documents += 1
        self._on_listing(self._listing)

    def found(self, found: Task | LedgerEntry) -> None:
        """Count a result of discovery."""
        self._listing.source = found.checkpoint.source if isinstance(found, Task) else found.source
        self._listing.checkpoints += isinstance(found, Task)
        self._on_listing(self._listing)

    def ended(self, source: str, *, is_listed: bool) -> None:
        """A block of a manifest was listed to its end, or could not be; all blocks of a source count."""
        self._listed[source] = self._listed.get(source, source not in self._down) and is_listed

    def record(self, journal: Journal) -> None:
        """Record in the journal which sources could be listed."""
        journal.record_sources(self._listed, utc(time.time()))
