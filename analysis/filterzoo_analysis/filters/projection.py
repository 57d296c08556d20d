"""What a variant needs from a layer's filters: moments, the range of coefficients, and histograms of projections."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from threading import Lock

import numpy as np

from filterzoo.layers.layer import Floats
from filterzoo.measures.dct import DCT_BINS
from filterzoo.measures.entropy import PrincipalComponents
from filterzoo.measures.statistics import FILTER_SIZE, Moments
from filterzoo_analysis.filters import loops
from filterzoo_analysis.tables.statistics import Ints

_KEPT = 50_000
"""Filters of largest norm that are kept to find the range. More make an extra pass rarer, but cost time."""
_ROUNDING = 1 + 1e-6
"""A safe bound of the relative float32 rounding error of a norm."""


class Precision(Enum):
    """Bits of the float type to which raw filters are rounded before scaling."""

    SINGLE = 32
    HALF = 16


class Extremes:
    """Finds the smallest and largest coefficient before the basis is known, by keeping the filters of largest norm.

    A coefficient along a unit vector is at most the filter's norm. If the coefficients of the kept filters exceed the
    largest norm of the other filters, the others cannot change the range.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._size = kept
        self._lock = Lock()
        self._kept: list[Floats] = []
        self._count = 0
        self.bar = -1.0
        """Squared norm above which filters are kept."""

    def add(self, scaled: Floats) -> None:
        """Add filters whose squared norm is above `bar`; float32 (n, 9)."""
        with self._lock:
            self._kept.append(scaled)
            self._count += len(scaled)
            if self._count > 2 * self._size:
                self._thin()

    def bounds(self, components: PrincipalComponents) -> tuple[float, float]:
        """Smallest and largest coefficient of the kept filters."""
        return _bounds(self._kept, components)

    def range(self, components: PrincipalComponents) -> tuple[float, float] | None:
        """The range of all coefficients; None if a filter that was not kept could exceed it."""
        low, high = self.bounds(components)
        limit = np.sqrt(max(self.bar, 0.0)) * _ROUNDING
        shift = components.components @ components.mean
        is_sure = self.bar < 0 or (high >= limit - shift.min() and low <= -limit - shift.max())
        return (low, high) if is_sure else None

    def _thin(self) -> None:
        filters = np.concatenate(self._kept)
        norms = np.square(filters).sum(axis=1)
        self.bar = float(np.partition(norms, -self._size)[-self._size])
        self._kept = [filters[norms > self.bar]]
        self._count = len(self._kept[0])


def filter_moments(
    pieces: Iterable[Floats], precision: Precision, extremes: Extremes, *, without_sparse: bool
) -> Moments:
    """Moments of a layer's scaled finite filters. without_sparse: only of filters with a number above peak / 100."""
    limit = -1.0
    if without_sparse:
        pieces = list(pieces)
        limit = _sparse_limit(pieces)
    found = Moments.empty()
    for piece in pieces:
        far = np.empty_like(piece)
        count, mean, m2, n_far = loops.moments(piece, precision.value, limit, extremes.bar, far)
        found = found.merge(Moments(count, mean, m2))
        if n_far:
            extremes.add(far[:n_far].copy())
    return found


def extent_of(pieces: Iterable[Floats], precision: Precision, components: PrincipalComponents) -> tuple[float, float]:
    """Smallest and largest coefficient of a layer's scaled finite filters, in float64; (inf, -inf) without filters."""
    return _bounds((_scaled(piece, precision) for piece in pieces), components)


def histogram_of(
    pieces: Iterable[Floats],
    precision: Precision,
    components: PrincipalComponents,
    low: float,
    high: float,
    *,
    without_sparse: bool = False,
) -> Ints:
    """(9, 70): histograms of the coefficients with 70 equal bins over [low, high]. The outermost bins hold outliers.

    Computed in float32: a coefficient within 1e-6 of an edge may fall to either side. without_sparse: as in
    `filter_moments`.
    """
    limit = -1.0
    if without_sparse:
        pieces = list(pieces)
        limit = _sparse_limit(pieces)
    scale = DCT_BINS / (high - low) if high > low else 0.0
    # bin = floor((basis @ (f - mean) - low) * scale), with constants folded into a product and a sum.
    basis = (components.components * scale).astype(np.float32)
    shift = ((-components.components @ components.mean - low) * scale).astype(np.float32)
    counts = np.zeros((FILTER_SIZE, DCT_BINS), np.int64)
    for piece in pieces:
        loops.add_histogram(piece, precision.value, limit, basis, shift, counts)
    return counts


def _bounds(several: Iterable[Floats], components: PrincipalComponents) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for scaled in several:
        projected = (scaled.astype(np.float64) - components.mean) @ components.components.T
        low, high = min(low, float(projected.min(initial=np.inf))), max(high, float(projected.max(initial=-np.inf)))
    return low, high


def _scaled(filters: Floats, precision: Precision) -> Floats:
    """The finite filters among (n, 9), scaled."""
    scaled = np.empty_like(filters)
    *_, n = loops.moments(filters, precision.value, -1.0, -1.0, scaled)
    return scaled[:n]


def _sparse_limit(pieces: list[Floats]) -> float:
    """The largest float32 that is at most peak / 100. A filter is sparse if its peak is at most this (`<=`)."""
    peak = max((loops.largest(piece) for piece in pieces), default=0.0)
    limit = np.float32(peak / 100)
    return float(limit if float(limit) <= peak / 100 else np.nextafter(limit, np.float32(0)))
