"""What one layer's filters give to a variant: moments, bounds of the range, and histograms of projections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch

from filterzoo.layer import Floats
from filterzoo.measures.dct import DCT_BINS
from filterzoo.measures.entropy import PrincipalComponents
from filterzoo.measures.statistics import FILTER_SIZE, Moments, merge_moments

_BLOCK = 8192
"""Filters worked on at a time: a block and its copies stay in a core's cache."""
_KEPT = 100_000
"""Filters of largest norm that are kept to find the range; more of them prove more ranges, and cost every pass."""
_TINY = float(np.finfo(np.float32).smallest_subnormal)


class Precision(Enum):
    """What raw filters are rounded to before they are scaled."""

    SINGLE = auto()
    HALF = auto()


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread a worker: the workers are as many as the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Extremes:
    """Finds the smallest and largest coefficient before the basis is known, by keeping the filters of largest norm.

    A coefficient along a unit vector is at most the filter's norm; so when the kept filters reach further than the
    largest norm among the others, those cannot matter.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._size = kept
        self._lock = Lock()
        self._kept: list[Floats] = []
        self._count = 0
        self.bar = 0.0
        """Norm, squared, above which filters are kept."""

    def add(self, scaled: Floats) -> None:
        """Take filters whose squared norm passes `bar`; float32 (9, n)."""
        with self._lock:
            self._kept.append(scaled)
            self._count += scaled.shape[1]
            if self._count > 2 * self._size:
                self._thin()

    def bounds(self, components: PrincipalComponents) -> tuple[float, float]:
        """Smallest and largest coefficient of the kept filters."""
        low, high = np.inf, -np.inf
        for part in self._kept:
            projected = components.components @ (part.astype(np.float64) - components.mean[:, None])
            low, high = min(low, float(projected.min(initial=np.inf))), max(high, float(projected.max(initial=-np.inf)))
        return low, high

    def range(self, components: PrincipalComponents) -> tuple[float, float] | None:
        """The range of all coefficients; None where the filters that were not kept might pass it."""
        low, high = self.bounds(components)
        limit = np.sqrt(self.bar)
        shift = components.components @ components.mean
        is_sure = self.bar == 0 or (high >= limit - shift.min() and low <= -limit - shift.max())
        return (low, high) if is_sure else None

    def _thin(self) -> None:
        filters = np.concatenate(self._kept, axis=1)
        norms = np.square(filters).sum(axis=0)
        self.bar = float(np.partition(norms, -self._size)[-self._size])
        self._kept = [filters[:, norms > self.bar]]
        self._count = self._kept[0].shape[1]


def filter_moments(filters: Floats, precision: Precision, extremes: Extremes, *, without_sparse: bool) -> Moments:
    """Moments of a layer's scaled finite filters; `without_sparse`: of those with a number above peak / 100."""
    limit = _sparse_limit(filters) if without_sparse else -1.0
    counts, means, m2s = [], [], []
    for scaled, peaks in _scaled_blocks(filters, precision):
        large = scaled if extremes.bar == 0 else scaled[:, scaled.square().sum(dim=0) > extremes.bar]
        if large.numel():
            extremes.add(large.numpy())
        # Products with 0 and 1 leave filters out at a third of what gathering the others costs.
        kept = None if limit < 0 else (peaks > limit).double()
        count = scaled.shape[1] if kept is None else int(kept.sum())
        if count:
            wanted = scaled.double()
            mean = (wanted.sum(dim=1) if kept is None else wanted @ kept) / count
            wanted -= mean.unsqueeze(1)
            if kept is not None and count < len(kept):
                wanted *= kept
            counts.append(count)
            means.append(mean.numpy())
            m2s.append((wanted @ wanted.T).numpy())
    return merge_moments(counts, np.stack(means), np.stack(m2s)) if counts else Moments.empty()


def extent_of(filters: Floats, precision: Precision, components: PrincipalComponents) -> tuple[float, float]:
    """Smallest and largest coefficient of a layer's scaled finite filters, in float64; (inf, -inf) of none."""
    basis = torch.from_numpy(components.components)
    shift = torch.from_numpy(components.components @ components.mean)
    low, high = torch.inf, -torch.inf
    for scaled, _ in _scaled_blocks(filters, precision):
        if scaled.numel():
            found = torch.aminmax(basis @ scaled.double(), dim=1)
            low = min(low, float((found.min - shift).min()))
            high = max(high, float((found.max - shift).max()))
    return low, high


def histogram_of(
    filters: Floats, precision: Precision, components: PrincipalComponents, low: float, high: float
) -> npt.NDArray[np.int64]:
    """(9, 70): how many coefficients lie in each of 70 equal bins over [low, high], outliers in the outermost ones.

    In float32: a coefficient within 1e-6 of an edge may fall to either side.
    """
    scale = DCT_BINS / (high - low) if high > low else 0.0
    # bin = floor((basis @ (f - mean) - low) * scale), all constants folded into one product and one sum.
    basis = torch.from_numpy(components.components * scale).float()
    shift = torch.from_numpy((-components.components @ components.mean - low) * scale).float().unsqueeze(1)
    offsets = torch.arange(FILTER_SIZE, dtype=torch.int32).unsqueeze(1) * DCT_BINS
    counts = torch.zeros(FILTER_SIZE * DCT_BINS, dtype=torch.int64)
    for scaled, _ in _scaled_blocks(filters, precision):
        position = torch.addmm(shift, basis, scaled)
        bins = position.to(torch.int32).clamp_(0, DCT_BINS - 1).add_(offsets)
        counts += torch.bincount(bins.flatten(), minlength=len(counts))
    return counts.numpy().reshape(FILTER_SIZE, DCT_BINS)


def _scaled_blocks(filters: Floats, precision: Precision) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """(scaled filters (9, n), their largest absolute numbers before (n,)) of the finite filters, float32."""
    identity = torch.eye(FILTER_SIZE)
    for start in range(0, len(filters), _BLOCK):
        # Arrow's memory is read-only, which torch has no notion of: a copy of a block stays in the cache.
        block = torch.from_numpy(filters[start : start + _BLOCK].copy())
        if precision is Precision.HALF:
            block = block.half().float()
        # Turned by a product with 1 and 0, which is exact and three times as fast as a strided copy. A number that is
        # not finite makes its whole filter NaN on the way; such filters go.
        turned = identity @ block.T
        peaks = turned.abs().amax(dim=0)
        finite = peaks < torch.inf
        if not finite.all():
            turned, peaks = turned[:, finite], peaks[finite]
        # One IEEE division per number: the product with the reciprocal differs in the last bit.
        yield turned / peaks.clamp_min(_TINY), peaks


def _sparse_limit(filters: Floats) -> float:
    """The largest float32 that is at most peak / 100: a filter whose peak is not above it is sparse (`<=`)."""
    peak = float(max(-filters.min(initial=0.0), filters.max(initial=0.0)))
    if not np.isfinite(peak):
        blocks = _scaled_blocks(filters, Precision.SINGLE)
        peak = max((float(peaks.max()) for _, peaks in blocks if len(peaks)), default=0.0)
    limit = np.float32(peak / 100)
    return float(limit if float(limit) <= peak / 100 else np.nextafter(limit, np.float32(0)))
