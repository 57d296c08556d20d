"""Limits of one run: bytes to fetch, duration, and free disk space. What is left is for the next run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filterzoo.crawl.task import Task
from filterzoo.errors import StorageFailed
from filterzoo.outcome import Done, LedgerEntry

Found = TypeVar("Found")
LEAST_FREE = 16 << 20
"""Free bytes required before a checkpoint starts: for the journal, and for fragments of usual size."""


@dataclass(slots=True)
class Left:
    """What a run left for the next one.

    bytes: as far as zoos state them. unknown_sizes: checkpoints without a stated size. is_counted: False if the time
    was over before everything was listed.
    """

    checkpoints: int = 0
    bytes: int = 0
    unknown_sizes: int = 0
    is_counted: bool = True

    def document(self) -> dict[str, int | bool]:
        """For `--json`."""
        return {
            "checkpoints": self.checkpoints,
            "bytes": self.bytes,
            "unknown_sizes": self.unknown_sizes,
            "counted": self.is_counted,
        }


class Allowance:
    """Limits several listings to a common number of items, and draws no more than that; None: no limit."""

    def __init__(self, limit: int | None) -> None:
        self._left = limit

    def within(self, listing: Iterator[Found]) -> Iterator[Found]:
        """The listing while the limit is not reached."""
        while self._left is None or self._left > 0:
            try:
                found = next(listing)
            except StopIteration:
                return
            if self._left is not None:
                self._left -= 1
            yield found


class RunLimits:
    """Passes tasks on within the limits. max_bytes: of files; max_hours: until the last task starts.

    A checkpoint that does not fit is left, and smaller ones after it are taken. A checkpoint of unknown size counts
    when it is done. `clock` returns seconds.
    """

    def __init__(
        self, max_bytes: int | None = None, max_hours: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.left = Left()
        self._max_bytes = max_bytes
        self._clock = clock
        self._end = None if max_hours is None else clock() + 3600 * max_hours
        self._bytes = 0

    def within(self, tasks: Iterable[Task]) -> Iterator[Task]:
        """The tasks that fit."""
        for task in tasks:
            size = stated_size(task)
            if self._end is not None and self._clock() >= self._end:
                self._leave(size)
                self.left.is_counted = False
                return
            if self._max_bytes is not None and self._bytes + (size or 1) > self._max_bytes:
                self._leave(size)
            else:
                self._bytes += size or 0
                yield task

    def spent(self, task: Task, outcome: Done | LedgerEntry) -> None:
        """Count the outcome of a task."""
        if isinstance(outcome, Done) and stated_size(task) is None:
            self._bytes += outcome.size

    def _leave(self, size: int | None) -> None:
        self.left.checkpoints += 1
        self.left.bytes += size or 0
        self.left.unknown_sizes += size is None


def stated_size(task: Task) -> int | None:
    """Bytes of a checkpoint's files; None if its zoo does not state all of them."""
    sizes = [artifact.size for artifact in task.checkpoint.artifacts]
    return None if None in sizes else sum(size or 0 for size in sizes)


def with_free_space(tasks: Iterable[Task], folder: Path) -> Iterator[Task]:
    """Pass tasks on while the work folder's disk has space; StorageFailed if it has none for the next."""
    for task in tasks:
        free = shutil.disk_usage(folder).free
        if free < LEAST_FREE:
            raise StorageFailed(
                f"{folder}: {free:,} bytes are free, and the next checkpoint wants {LEAST_FREE:,} at least; "
                "free space and run the same command again"
            )
        yield task
