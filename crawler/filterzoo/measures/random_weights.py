"""Detects networks that were published with their initial weights, by the variance entropy of their 3x3 filters.

Filters drawn at random have no preferred direction: their variance spreads evenly over the nine axes, and its entropy H
is above T_H(n), the smallest value of n random filters (Gavrikov & Keuper, CVPR 2022). Training lowers H in nearly
every layer, except in a few that learn little. So a network is suspected if nearly all its layers with enough filters
are random. Folding a batch norm that saw no data scales a layer as a whole, which leaves H unchanged, or, with an
initial gamma of 0, sets the layer to zero; such layers do not count.

Tested on 33 initialised networks of torchvision and timm with three or more qualifying layers: all are suspected, and
their least random layer is .003 below T_H. None of five trained networks is suspected; their most random layer is .021
below. Two kinds are not detected: depthwise networks whose filters were scaled individually (by log-normal factors of
sigma .5: 7 of 9), and networks whose training failed or hardly began. Without enough 3x3 layers there is no verdict.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

MIN_FILTERS = 64
"""Fewest filters of a qualifying layer: with fewer, trained and random layers are hard to distinguish."""
MIN_LAYERS = 3
"""Fewest qualifying layers for a verdict."""
TOLERANCE = 0.01
"""How far below T_H a random layer may be: T_H is a fit, and some random layers are slightly below it."""
SHARE = 0.9
"""Share of the qualifying layers that must be random: a network may have layers with fixed weights."""


class MeasuredLayer(Protocol):
    """The required fields of a layer, as in `layers.layer.LayerMeasure` and in the rows of `layers`."""

    @property
    def n_finite(self) -> int:
        """Number of finite filters of the layer."""
        ...

    @property
    def variance_entropy(self) -> float | None:
        """H; None except for 3x3."""
        ...

    @property
    def variance_entropy_threshold(self) -> float | None:
        """T_H for `n_finite` filters."""
        ...


def suspected_random(layers: Iterable[MeasuredLayer]) -> bool | None:
    """Whether the network with these layers looks untrained; None if there are too few layers to decide."""
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
