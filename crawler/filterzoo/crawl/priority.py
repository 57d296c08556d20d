"""The order in which tasks start: cheap and popular first, sources and hosts in turn; small checkpoints in groups."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from filterzoo.crawl.run_limits import stated_size
from filterzoo.crawl.task import Task
from filterzoo.outcome import Done, LedgerEntry

AHEAD = 1000
"""Tasks of a source that are listed before the cheapest of them starts."""
ASSUMED = 100_000_000
"""Assumed size in bytes of a checkpoint whose zoo states none."""
SMALL = 1 << 20
"""Largest checkpoint in bytes that shares a group; a larger one is a group of its own."""
MOST = 32
"""Most checkpoints of a group. If its worker is killed, they are all processed again."""
_GROWTH = 2
"""A group has one checkpoint more than this multiple of a worker's share of those that have ended."""
_LOOKED_AT = 32
"""Number of recent checkpoints whose actual sizes predict that of one without a stated size."""


class _Hosts(Counter[str]):
    """Bytes of the started tasks by host, over all sources."""

    def join(self, host: str, others: Iterable[str]) -> None:
        """Set the bytes of a host that has waiting tasks again to the minimum of the other hosts.

        Otherwise a host that is listed late would be the only one served until it has caught up.
        """
        self[host] = max(self[host], min((self[one] for one in others), default=0))


@dataclass(slots=True)
class _Queue:
    """A source's listed tasks. waiting: host -> its tasks as a heap. given: bytes of started tasks."""

    listing: Iterator[Task]
    hosts: _Hosts
    waiting: dict[str, list[tuple[int, int, Task]]] = field(default_factory=dict)
    in_hand: int = 0
    drawn: int = 0
    given: int = 0
    is_listed: bool = False

    def draw(self, most: int) -> None:
        """List up to `most` more tasks."""
        for _ in range(min(most, AHEAD - self.in_hand)):
            task = next(self.listing, None)
            if task is None:
                self.is_listed = True
                return
            host = _host_of(task)
            if host not in self.waiting:
                self.hosts.join(host, self.waiting)
            # Sizes in the same power of two are equal: then the position in the listing decides, because zoos list
            # popular checkpoints first.
            heapq.heappush(self.waiting.setdefault(host, []), (_bytes_of(task).bit_length(), self.drawn, task))
            self.drawn += 1
            self.in_hand += 1

    def next(self) -> Task | None:
        """The cheapest listed task of the host with the fewest started bytes; None at the end.

        Two tasks are listed for each that starts, so that the first starts at once and the choice grows.
        """
        if not self.is_listed:
            self.draw(2)
        if not self.waiting:
            return None
        host = min(self.waiting, key=lambda one: (self.hosts[one], self.waiting[one][0][:2]))
        task = heapq.heappop(self.waiting[host])[2]
        if not self.waiting[host]:
            del self.waiting[host]
        self.in_hand -= 1
        self.given += _bytes_of(task)
        self.hosts[host] += _bytes_of(task)
        return task


def in_turn(listings: Sequence[Iterator[Task]]) -> Iterator[Task]:
    """All tasks of all sources; the next is from the source with the fewest started bytes.

    The hosts of a source take turns in the same way. At most AHEAD tasks of each source are in memory. The order does
    not depend on time or on outcomes.
    """
    hosts = _Hosts()
    queues = [_Queue(listing, hosts) for listing in listings]
    while queues:
        queue = min(queues, key=lambda one: one.given)
        task = queue.next()
        if task is None:
            queues.remove(queue)
        else:
            yield task


def _host_of(task: Task) -> str:
    """The host of its first file; empty for local files and invalid addresses."""
    try:
        return urlsplit(task.checkpoint.artifacts[0].url).hostname or ""
    except ValueError:
        return ""


def _bytes_of(task: Task) -> int:
    size = stated_size(task)
    return ASSUMED if size is None else size


class TaskGroups:
    """Draws tasks in groups that grow with the number of finished tasks, so that a short crawl uses all workers."""

    def __init__(self, tasks: Iterable[Task], workers: int) -> None:
        self._remaining: Iterator[Task] = iter(tasks)
        self._workers = workers
        self._held: Task | None = None
        self._singly: deque[Task] = deque()
        self._ended = 0
        self._sizes: deque[int] = deque(maxlen=_LOOKED_AT)

    def take(self) -> list[Task]:
        """The next group; empty at the end."""
        if self._singly:
            return [self._singly.popleft()]
        most = min(MOST, 1 + _GROWTH * self._ended // self._workers)
        group: list[Task] = []
        while len(group) < most and (task := self._next()) is not None:
            if self._is_small(task):
                group.append(task)
            elif group:
                self._held = task
                break
            else:
                return [task]
        return group

    def take_singly(self, tasks: Sequence[Task]) -> None:
        """Put these tasks back, each as a group of its own."""
        self._singly.extend(tasks)

    def ended(
        self, group: Sequence[Task], outcomes: Sequence[Done | LedgerEntry]
    ) -> list[tuple[Task, Done | LedgerEntry]]:
        """Pair each task of a group with its outcome, and count it for the size of later groups."""
        self._ended += len(group)
        ended = list(zip(group, outcomes, strict=True))
        self._sizes += [one.size for task, one in ended if isinstance(one, Done) and stated_size(task) is None]
        return ended

    def _next(self) -> Task | None:
        postponed, self._held = self._held, None
        return next(self._remaining, None) if postponed is None else postponed

    def _is_small(self, task: Task) -> bool:
        size = stated_size(task)
        return max(self._sizes, default=SMALL + 1) <= SMALL if size is None else size <= SMALL
