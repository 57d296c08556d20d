"""Groups checkpoints into Ray tasks: small ones together, large ones with the memory they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filterzoo.crawl.task import Task

SMALL = 4_000_000
"""Largest small checkpoint, in bytes: reading it costs about as much as starting a Ray task."""
MOST = 16
"""Most small checkpoints of a batch: if its node is lost, they are all read again."""

BASE = 1_000_000_000
"""Bytes of memory that a task reserves: the worker, its jail, and layers of up to `LAYER_BYTES`."""
LAYER_BYTES = 100_000_000
_DEFAULT_BYTES = 600_000_000
_COPIES = 4
"""Memory for a layer as a multiple of its size: stored, as float32, in the fragment, and for measuring."""
GPU_SHARE = 0.25
"""Share of a GPU for layers of up to `LAYER_BYTES`; larger layers get a whole GPU."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The resources of a batch. memory: in bytes. layer_bytes: of its largest layer. gpus: a number or a fraction."""

    memory: int = BASE
    layer_bytes: int = LAYER_BYTES
    gpus: float = 0.0

    def larger(self, layer: int, most: int) -> Needs:
        """The resources for a layer of `layer` bytes, bounded by `most`, the memory of the largest node."""
        wanted = _DEFAULT_BYTES + _COPIES * layer
        return Needs(min(wanted, most), max(layer, self.layer_bytes), 1.0 if self.gpus else 0.0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Tasks that one Ray task processes."""

    tasks: tuple[Task, ...]
    needs: Needs


class Batches:
    """Draws batches from tasks: one by one while cores are free, small ones together when all are busy."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks: Iterator[Task] = iter(tasks)
        self._next: Task | None = None

    def draw(self, needs: Needs, *, are_busy: bool) -> Batch | None:
        """The next batch, None if no task is left."""
        first = self._take()
        if first is None:
            return None
        batch = [first]
        while are_busy and len(batch) < MOST and _is_small(batch[-1]):
            following = self._take()
            if following is None:
                break
            if not _is_small(following):
                self._next = following
                break
            batch.append(following)
        return Batch(tuple(batch), needs)

    def _take(self) -> Task | None:
        task, self._next = self._next, None
        return task if task is not None else next(self._tasks, None)


def _is_small(task: Task) -> bool:
    """Whether it is small by the size that its zoo states."""
    sizes = [artifact.size for artifact in task.checkpoint.artifacts]
    return None not in sizes and sum(size or 0 for size in sizes) <= SMALL
