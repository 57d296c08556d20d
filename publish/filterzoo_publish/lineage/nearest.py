"""Finds candidates for near networks in a family by matrix products, so that few pairs are compared exactly."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

NEAR_WEIGHTS = 0.5
"""Largest distance of weights of related networks: independent networks have 1 on average, equal ones 0."""
NEAR_MOMENTS = 0.1
"""Largest distance of mean filters of related networks, for rows without probes."""
FEWEST_LAYERS = 3
"""Least number of comparable layers of two networks that differ."""
FEWEST_NUMBERS = 96
"""Least number of probed weights in these layers."""
COMPARED = 64
"""Networks that each network is compared with exactly. Products err only by rounding, so the nearest are included."""
_ROWS = 256
"""Networks of a batch: (256, m) numbers of each layer fit in the cache."""


@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """m networks of l layers each, of equal shapes.

    identity: (m, l) numbers that are equal for equal layers. probes: (m, l, PROBES), centred, padded with zeros. known:
    (m, l), whether the layer has a probe. sizes: (l,), the numbers in a probe. kurtosis: (m, l), NaN where unknown.
    mean: (m, l, 9), NaN except for 3x3. noise: (m, l), the variance of the mean filter, summed over its 9 numbers.
    shapes: those of the layers; empty for joined families.
    """

    names: list[str]
    identity: Ints
    probes: Doubles
    known: npt.NDArray[np.bool_]
    sizes: Ints
    kurtosis: Doubles
    mean: Doubles
    noise: Doubles
    shapes: tuple[tuple[int, ...], ...] = ()

    def load(self) -> Family:
        """See `families.Loadable`: it is in memory."""
        return self


def nearest(family: Family) -> Iterator[Ints]:
    """For each network, in order: the sorted positions of at most `COMPARED` networks that may be near it."""
    count = len(family.names)
    everything = np.arange(count)
    if count <= COMPARED:
        for model in range(count):
            yield everything[everything != model]
        return
    # Rounding errors of products of small numbers are smaller.
    mean = family.mean - np.where(np.isfinite(family.mean), family.mean, 0.0).mean(axis=0)
    for first in range(0, count, _ROWS):
        own = slice(first, first + _ROWS)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            distance = _decisive(family, mean, own)
        distance[np.arange(len(distance)), everything[own]] = np.inf
        # Rounded distances that are equal keep the order of the names.
        order = np.argsort(np.round(distance, 9), axis=1, kind="stable")[:, :COMPARED]
        for row, places in zip(distance, order, strict=True):
            yield np.sort(places[row[places] < 1 + 1e-6])


def _decisive(family: Family, mean: Doubles, own: slice) -> Doubles:
    """(rows, m) distances of some networks from all, divided by the threshold; infinite where undefined.

    |a - b|^2 = |a|^2 + |b|^2 - 2 ab. mean: (m, l, 9), centred.
    """
    shape = (len(family.names[own]), len(family.names))
    gaps, counts, layers, moments, means = (np.zeros(shape) for _ in range(5))
    energy, length = np.square(family.probes).sum(axis=2), np.square(mean).sum(axis=2)
    for layer, size in enumerate(family.sizes):
        differ = family.identity[own, layer, None] != family.identity[None, :, layer]
        both = energy[own, layer, None] + energy[None, :, layer]
        usable = differ & family.known[own, layer, None] & family.known[None, :, layer] & (both > 0)
        product = family.probes[own, layer] @ family.probes[:, layer].T
        gaps += size * np.divide(both - 2 * product, both, out=np.zeros(shape), where=usable)
        counts += size * usable
        layers += usable
        gap = length[own, layer, None] + length[None, :, layer] - 2 * (mean[own, layer] @ mean[:, layer].T)
        gap /= family.noise[own, layer, None] + family.noise[None, :, layer]
        usable = differ & np.isfinite(gap)
        moments += np.where(usable, gap, 0.0)
        means += usable
    enough = (layers >= FEWEST_LAYERS) & (counts >= FEWEST_NUMBERS)
    by_moments = np.where(means >= FEWEST_LAYERS, moments / np.maximum(1, means) / NEAR_MOMENTS, np.inf)
    return np.where(enough, gaps / np.maximum(1, counts) / NEAR_WEIGHTS, by_moments)
