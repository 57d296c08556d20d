"""The order in which tasks start: cheap and popular ones first, sources in turn; the same for the same listing."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from filterzoo.crawl.run_limits import stated_size
from filterzoo.crawl.task import Task

AHEAD = 1000
"""Tasks of a source that are listed before the cheapest of them starts."""
ASSUMED = 100_000_000
"""Bytes of a checkpoint whose zoo states none."""


@dataclass(slots=True)
class _Queue:
    """A source's tasks in hand. given: bytes of those that were started."""

    listing: Iterator[Task]
    waiting: list[tuple[int, int, Task]] = field(default_factory=list)
    drawn: int = 0
    given: int = 0
    is_listed: bool = False

    def draw(self, most: int) -> None:
        """List up to so many tasks more."""
        for _ in range(min(most, AHEAD - len(self.waiting))):
            task = next(self.listing, None)
            if task is None:
                self.is_listed = True
                return
            # Sizes that differ by less than a factor of two are alike: then the place in the listing decides, and
            # zoos list what is popular first.
            heapq.heappush(self.waiting, (_bytes_of(task).bit_length(), self.drawn, task))
            self.drawn += 1

    def next(self) -> Task | None:
        """The cheapest task in hand; None where there is none any more.

        Two are listed for each that starts, so that the first starts at once and there is more choice with each.
        """
        if not self.is_listed:
            self.draw(2)
        if not self.waiting:
            return None
        task = heapq.heappop(self.waiting)[2]
        self.given += _bytes_of(task)
        return task


def in_turn(listings: Sequence[Iterator[Task]]) -> Iterator[Task]:
    """All tasks of all sources: the next is one of the source that was given the fewest bytes until now.

    At most AHEAD tasks of each source are in memory. Nothing depends on time or on what becomes of a task.
    """
    queues = [_Queue(listing) for listing in listings]
    while queues:
        queue = min(queues, key=lambda one: one.given)
        task = queue.next()
        if task is None:
            queues.remove(queue)
        else:
            yield task


def _bytes_of(task: Task) -> int:
    size = stated_size(task)
    return ASSUMED if size is None else size
