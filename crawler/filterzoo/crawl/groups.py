"""Groups small tasks: a worker shares what it waits for, the network and the disk, between those of a group."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from filterzoo.crawl.run_limits import stated_size
from filterzoo.crawl.task import Task
from filterzoo.outcome import Done, LedgerEntry

SMALL = 1 << 20
"""Most bytes of a checkpoint that is taken in a group; a larger one is a group of its own."""
MOST = 16
"""Most checkpoints of a group. If its worker is killed, they are all processed again."""
_LOOKED_AT = 32
"""Checkpoints without a stated size are small while so many before them were, as far as they are known."""


class Groups:
    """Draws tasks in groups that grow with the number of tasks that ended: a short crawl is spread over all workers."""

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
        most = min(MOST, 1 + self._ended // (2 * self._workers))
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
        """Give these again, each by itself."""
        self._singly.extend(tasks)

    def ended(
        self, group: Sequence[Task], outcomes: Sequence[Done | LedgerEntry]
    ) -> list[tuple[Task, Done | LedgerEntry]]:
        """Each task of a group with its outcome; it counts for the size of later groups."""
        self._ended += len(group)
        ended = list(zip(group, outcomes, strict=True))
        self._sizes += [one.size for task, one in ended if isinstance(one, Done) and stated_size(task) is None]
        return ended

    def _next(self) -> Task | None:
        held, self._held = self._held, None
        return next(self._remaining, None) if held is None else held

    def _is_small(self, task: Task) -> bool:
        size = stated_size(task)
        return max(self._sizes, default=SMALL + 1) <= SMALL if size is None else size <= SMALL
