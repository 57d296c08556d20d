"""Sums over the finite filters of a layer, and the measures computed from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from filterzoo.layers.layer import LayerMeasure
from filterzoo.measures.compiled import kernels
from filterzoo.measures.entropy import variance_entropy, variance_entropy_threshold
from filterzoo.measures.statistics import Moments, unpack

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles, Floats
    from filterzoo.measures.spectral import Spectrum

_SPARSE: Final = 100
"""A filter is sparse when all its numbers are smaller than the layer's largest, divided by this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterCounts:
    """n_finite counts filters; nan_count and inf_count count numbers. peak: the largest magnitude in finite filters."""

    n_finite: int
    nan_count: int
    inf_count: int
    peak: float

    @property
    def is_clean(self) -> bool:
        """Whether every number of the layer is finite."""
        return not (self.nan_count or self.inf_count)


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """The sums of one pass. raw to histogram, int64 (9, 70), are None for kernels other than 3x3.

    totals: sums of powers, None on a GPU.
    """

    l1_norm: float
    l2_norm: float
    sparse_count: int
    raw: Moments | None = None
    scaled: Moments | None = None
    histogram: npt.NDArray[np.int64] | None = None
    totals: kernels.Totals | None = None


def sums_of(filters: Floats, peak: float, *, with_statistics: bool) -> Sums:
    """Norms and sparse filters of finite filters (n, k); with statistics, moments and histogram of 3x3 filters too."""
    limit = sparse_limit(peak)
    if not with_statistics:
        totals = kernels.sums_of_any(filters, limit)
        return Sums(totals.magnitudes, math.sqrt(totals.squares), totals.sparse_count, totals=totals)
    totals, mean, m2, scaled_mean, scaled_m2, counts = kernels.sums_of_3x3(filters, limit)
    counts[:, -2] += counts[:, -1]
    raw, scaled = Moments(len(filters), mean, unpack(m2)), Moments(len(filters), scaled_mean, unpack(scaled_m2))
    norms = totals.magnitudes, math.sqrt(totals.squares)
    return Sums(*norms, totals.sparse_count, raw, scaled, counts[:, :-1], totals)


def sparse_limit(peak: float) -> float:
    """The smallest float32 not below peak / 100, so that comparison with float32 is exact; Inf for peak 0."""
    if peak == 0:
        return math.inf
    limit = np.float32(peak / _SPARSE)
    return float(limit if float(limit) >= peak / _SPARSE else np.nextafter(limit, np.float32(np.inf)))


def layer_measure(
    counts: FilterCounts,
    sums: Sums,
    direction: float | None,
    spectral: Spectrum,
    *,
    frequencies: Doubles | None,
    kurtosis: float | None,
    probe: Floats | None,
) -> LayerMeasure:
    """All measures of a layer; `direction` is its orthogonality."""
    n_finite, raw, scaled, histogram = counts.n_finite, sums.raw, sums.scaled, sums.histogram
    return LayerMeasure(
        n_finite=n_finite,
        nan_count=counts.nan_count,
        inf_count=counts.inf_count,
        l1_norm=sums.l1_norm,
        l2_norm=sums.l2_norm,
        sparse_count=sums.sparse_count,
        sparsity=sums.sparse_count / n_finite if n_finite else None,
        orthogonality=direction,
        variance_entropy=None if raw is None else variance_entropy(raw),
        variance_entropy_threshold=None if raw is None else variance_entropy_threshold(n_finite),
        raw_mean=None if raw is None else raw.mean,
        raw_m2=None if raw is None else raw.packed,
        scaled_mean=None if scaled is None else scaled.mean,
        scaled_m2=None if scaled is None else scaled.packed,
        dct_histogram=None if histogram is None else histogram.astype(np.uint32).ravel(),
        spectral_norm=spectral.spectral_norm,
        stable_rank=spectral.stable_rank,
        effective_rank=spectral.effective_rank,
        power_law_alpha=spectral.power_law_alpha,
        frequency_energy=frequencies,
        kurtosis=kurtosis,
        probe=probe,
    )
