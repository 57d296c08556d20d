"""Drift between sets of filters: the symmetric divergence of their coefficients' distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from filterzoo.measures.dct import DCT_BIN_WIDTH
from filterzoo.measures.statistics import FILTER_SIZE, FilterStatistics, dct_variance, merge_statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from filterzoo.layers.layer import Doubles

_EMPTY_BIN: Final = float(np.finfo(np.float32).eps)
"""Density of an empty bin, so that no ratio is infinite."""


def symmetric_kl(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], bin_width: float) -> Doubles:
    """KL(p, q) + KL(q, p) in nats, not halved, of histograms over the same bins: counts (..., bins) -> (...).

    Exactly symmetric, and exactly 0 for equal histograms (Gavrikov & Keuper, CVPR 2022).

    Raises:
        ValueError: a histogram is empty.
    """
    p, q = _distribution(first, bin_width), _distribution(second, bin_width)
    divergence: Doubles = ((p - q) * (np.log(p) - np.log(q))).sum(axis=-1)
    return divergence


def fixed_drift(sets: Sequence[FilterStatistics]) -> Doubles:
    """(k, k) float64: the drift between each two of k sets in the fixed basis, from their merged histograms alone.

    D = sum_i w_i KLsym_i over the nine DCT coefficients of scaled filters; w_i is coefficient i's share of variance
    among the filters of all sets together, so a value depends on the other sets.

    Raises:
        ValueError: there is no set, or one of them holds no filter.
    """
    weights = _shares(merge_statistics(sets))
    drift = np.zeros((len(sets), len(sets)))
    for row, first in enumerate(sets):
        for column, second in enumerate(sets[:row]):
            divergence = symmetric_kl(first.histogram, second.histogram, DCT_BIN_WIDTH)
            drift[row, column] = drift[column, row] = weights @ divergence
        # Not needed for the zero diagonal, but an empty set must be rejected.
        _distribution(first.histogram, DCT_BIN_WIDTH)
    return drift


def _shares(merged: FilterStatistics) -> Doubles:
    variance = dct_variance(merged.scaled)
    if variance is None or not variance.any():
        return np.zeros(FILTER_SIZE)
    shares: Doubles = variance / variance.sum()
    return shares


def _distribution(counts: npt.NDArray[np.int64], bin_width: float) -> Doubles:
    totals = counts.sum(axis=-1, keepdims=True)
    if not np.all(totals):
        raise ValueError("the drift from a set without filters is undefined")
    density = np.where(counts == 0, _EMPTY_BIN, counts / (totals * bin_width))
    distribution: Doubles = density / density.sum(axis=-1, keepdims=True)
    return distribution
