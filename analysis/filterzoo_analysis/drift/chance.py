"""The drift expected by chance: the drift between two samples of the same distribution."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.measures.statistics import FILTER_SIZE
from filterzoo_analysis.tables.statistics import Ints

_EMPTY_BIN = float(np.finfo(np.float32).eps)
_EXACT = 60
"""Largest expected count of a bin for which all counts are summed. Above it, a series is equally exact."""
_Terms: TypeAlias = tuple[Doubles, Doubles, Doubles]
_SPREAD = 9.0
"""Counts are summed within this many standard deviations."""


def expected_drift(counts: Doubles, first: int, second: int | None, weights: Doubles, bin_width: float) -> float:
    """Expected drift (docs/measures.md, 5) between `first` and `second` filters that are drawn from one distribution.

    counts: (630,), the distribution. second: None for the distribution itself (infinitely many filters). Filters are
    assumed to be independent; the filters of a network are not, so this is a lower bound.

    KL_sym = sum p ln p + sum q ln q - sum p ln q - sum q ln p. The two draws are independent, so the means of p, ln p
    and p ln p of each bin are all that is needed. Empty bins have the density of float32's epsilon.
    """
    shape = counts.reshape(FILTER_SIZE, -1)
    total = shape.sum(axis=1, keepdims=True)
    if first <= 0 or second == 0 or not total.all():
        return float("nan")
    p = (shape / total).ravel()
    own, other = (_terms(p, number, bin_width) for number in (first, second))
    return _joined(own, other, weights)


def expected_matrix(counts: Doubles, filters: Ints, weights: Doubles, bin_width: float) -> Doubles:
    """(k, k): `expected_drift` for each two of `filters`, (k,) numbers of filters. NaN for 0 and on the diagonal."""
    shape = counts.reshape(FILTER_SIZE, -1)
    total = shape.sum(axis=1, keepdims=True)
    found = np.full((len(filters), len(filters)), np.nan)
    if not total.all():
        return found
    p = (shape / total).ravel()
    terms = {int(number): _terms(p, int(number), bin_width) for number in filters if number > 0}
    for row, first in enumerate(filters):
        for column, second in enumerate(filters[:row]):
            if first > 0 and second > 0:
                found[row, column] = found[column, row] = _joined(terms[int(first)], terms[int(second)], weights)
    return found


def _joined(own: _Terms, other: _Terms, weights: Doubles) -> float:
    divergence = own[2] + other[2] - own[0] * other[1] - other[0] * own[1]
    return float(weights @ divergence.reshape(FILTER_SIZE, -1).sum(axis=1))


def _terms(p: Doubles, number: int | None, bin_width: float) -> _Terms:
    """Means of p^, ln p^ and p^ ln p^, where p^ is the share of a bin in `number` draws, for each share in `p`."""
    empty = _EMPTY_BIN * bin_width
    floor = np.maximum(p, empty)
    if number is None:
        return floor, np.log(floor), floor * np.log(floor)
    mean, log, product = floor.copy(), np.log(floor), floor * np.log(floor)
    large = p * number > _EXACT
    # Series about the mean up to the fourth central moment of the binomial distribution.
    n_p, rest = p[large] * number, 1 - p[large]
    second = n_p * rest
    third, fourth = second * (rest - p[large]), 3 * second**2 + second * (1 - 6 * p[large] * rest)
    log[large] += -second / (2 * n_p**2) + third / (3 * n_p**3) - fourth / (4 * n_p**4)
    product[large] += (second / (2 * n_p) - third / (6 * n_p**2) + fourth / (12 * n_p**3)) / number
    for place in np.flatnonzero(~large & (p > 0)):
        mean[place], log[place], product[place] = _summed(float(p[place]), number, empty)
    return mean, log, product


def _summed(p: float, number: int, empty: float) -> tuple[float, float, float]:
    expected = p * number
    top = min(number, int(expected + _SPREAD * np.sqrt(expected) + 20))
    count = np.arange(top + 1, dtype=np.float64)
    # ln of the binomial coefficients, as a running sum of ln((number - c + 1) / c).
    ways = np.concatenate([[0.0], np.cumsum(np.log((number - count[1:] + 1) / count[1:]))])
    certain = 1.0 * (count == number)
    share = np.exp(ways + count * np.log(p) + (number - count) * np.log1p(-p)) if p < 1 else certain
    value = np.maximum(count / number, empty)
    return float(share @ value), float(share @ np.log(value)), float(share @ (value * np.log(value)))
