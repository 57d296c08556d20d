"""Decoded filters that one pass leaves to the next: to decode them takes longer than what is done to them."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from filterzoo.layers.layer import Floats
from filterzoo_analysis.filters.steps import ReadingStep

KEPT_BYTES = 1 << 30
"""For some 30 million filters."""


class Kept:
    """The filters of the steps that came first, up to `size` bytes."""

    def __init__(self, size: int) -> None:
        self._room = size
        self._lock = Lock()
        self._layers: dict[ReadingStep, list[list[Floats]]] = {}

    def layers(self, step: ReadingStep) -> list[list[Floats]] | None:
        """The pieces of each of the step's layers; None where they were not kept."""
        return self._layers.get(step)

    def begin(self, step: ReadingStep) -> list[list[Floats]] | None:
        """A list for the pieces of each of the step's layers; None where there is no room for them."""
        size = step.size
        with self._lock:
            if size > self._room:
                return None
            self._room -= size
        return [[] for _ in step.layers]

    def finish(self, step: ReadingStep, layers: list[list[Floats]]) -> None:
        """All that `begin` gave out is filled."""
        self._layers[step] = layers


def filling(kept: list[Floats] | None, pieces: Iterator[Floats]) -> Iterator[Floats]:
    """The pieces, each put into `kept`, if there is one, before it is worked on: while it is in the core's cache."""
    for piece in pieces:
        if kept is not None:
            kept.append(piece)
        yield piece
