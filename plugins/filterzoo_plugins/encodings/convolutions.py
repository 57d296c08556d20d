"""Collects the convolutions of a graph: an unreadable one is left out, and the file is still read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from filterzoo import LeftOut, Reason, Refused, Tensor

_OF_ONE_LAYER = frozenset({Reason.UNSUPPORTED, Reason.MALFORMED})


class Convolutions:
    """The convolutions found while a graph is traversed. `tensors`: the weights, in graph order."""

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self._refusals: list[tuple[str, Refused]] = []
        self._depths: set[int] = set()

    @property
    def are_any(self) -> bool:
        """Whether any was found, readable or not."""
        return bool(self.tensors or self._refusals)

    @contextlib.contextmanager
    def reading(self, name: str, depth: int) -> Iterator[None]:
        """A context for reading one convolution at that depth: its own faults are recorded, not raised."""
        try:
            yield
        except Refused as refusal:
            if refusal.reason not in _OF_ONE_LAYER:
                raise
            self._refusals.append((name, refusal))
            self._depths.add(depth)

    def found(self) -> Iterator[Tensor | LeftOut]:
        """The weights, then the convolutions left out; Refused with the first one's reason if there is no weight."""
        if self._refusals and not self.tensors:
            raise self._refusals[0][1]
        yield from map(self._ranked, self.tensors) if self._refusals else self.tensors
        for name, refusal in self._refusals:
            yield LeftOut(refusal.where or name, str(refusal.reason), refusal.detail)

    def _ranked(self, tensor: Tensor) -> Tensor:
        """The weight with its depth among all convolutions, including those left out."""
        convolution = tensor.convolution
        if convolution is None or convolution.depth is None:
            return tensor
        depths = {t.convolution.depth for t in self.tensors if t.convolution and t.convolution.depth is not None}
        ranks = sorted(depths | self._depths)
        rank, last = ranks.index(convolution.depth), len(ranks) - 1
        return replace(tensor, convolution=replace(convolution, stated_depth=(rank, rank / last if last else 0.0)))
