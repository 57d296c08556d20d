"""A cache of decoded filters between passes: decoding takes longer than the computation."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from filterzoo.layers.layer import Floats
from filterzoo_analysis.filters.steps import ReadingStep

KEPT_BYTES = 1 << 30
"""Default size of the cache: enough for about 30 million filters."""


class Kept:
    """Caches the filters of the first steps, up to `size` bytes."""

    def __init__(self, size: int) -> None:
        self._room = size
        self._lock = Lock()
        self._layers: dict[ReadingStep, list[list[Floats]]] = {}

    def layers(self, step: ReadingStep) -> list[list[Floats]] | None:
        """The pieces of each of the step's layers; None if they are not cached."""
        return self._layers.get(step)

    def begin(self, step: ReadingStep) -> list[list[Floats]] | None:
        """Reserve room: an empty list for each of the step's layers, to be filled; None if the cache is full."""
        size = step.size
        with self._lock:
            if size > self._room:
                return None
            self._room -= size
        return [[] for _ in step.layers]

    def finish(self, step: ReadingStep, layers: list[list[Floats]]) -> None:
        """Store the filled lists that `begin` returned."""
        self._layers[step] = layers


def filling(kept: list[Floats] | None, pieces: Iterator[Floats]) -> Iterator[Floats]:
    """The pieces. Each is first appended to `kept`, if given, while it is in the CPU cache."""
    for piece in pieces:
        if kept is not None:
            kept.append(piece)
        yield piece
