"""Detects networks that were published with their initial weights, by the variance entropy of their 3x3 filters.

Filters drawn at random have no preferred direction: their variance spreads evenly over the nine axes, and its entropy H
lies above T_H(n), the smallest that n random filters show (Gavrikov & Keuper, CVPR 2022). Training lowers H in nearly
every layer; the few layers that keep it are those that learned little. So a network is suspected when nearly all its
layers with enough filters are random. Folding a batch normalisation that saw no data scales a layer as a whole, which
leaves H as it is, or with an initial gamma of 0 empties the layer; empty layers do not count.

Tried on 33 initialised networks of torchvision and timm with three or more layers that count: all are suspected, their
layer farthest from random .003 below T_H. Of five trained ones none is; their layer nearest to random lies .021 below.
Missed are depthwise networks whose filters were scaled one by one (by log-normal factors of sigma .5: 7 of 9), and not
told apart those whose training failed or hardly began. Without enough 3x3 layers nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

MIN_FILTERS = 64
"""Fewest filters of a qualifying layer: with fewer, trained and random layers are hard to distinguish."""
MIN_LAYERS = 3
"""Fewest qualifying layers for a verdict."""
TOLERANCE = 0.01
"""How far below T_H a layer may lie: T_H is a fit, and some random layers lie a little below."""
SHARE = 0.9
"""Share of the qualifying layers that must be random: a network may have layers that are set by hand."""


class MeasuredLayer(Protocol):
    """The fields needed of a layer: those of `layers.layer.LayerMeasure`, and of a row of `layers`."""

    @property
    def n_finite(self) -> int:
        """Filters of the layer that are numbers."""
        ...

    @property
    def variance_entropy(self) -> float | None:
        """H; None but for 3x3."""
        ...

    @property
    def variance_entropy_threshold(self) -> float | None:
        """T_H of as many filters."""
        ...


def suspected_random(layers: Iterable[MeasuredLayer]) -> bool | None:
    """Whether the network with these layers looks untrained; None where there are too few layers to decide."""
    excess = [
        layer.variance_entropy - layer.variance_entropy_threshold
        for layer in layers
        if layer.variance_entropy  # 0 for a layer without variance
        and layer.variance_entropy_threshold is not None
        and layer.n_finite >= MIN_FILTERS
    ]
    if len(excess) < MIN_LAYERS:
        return None
    return sum(difference > -TOLERANCE for difference in excess) >= SHARE * len(excess)
