"""Sufficient statistics of 3x3 filters: they merge exactly, so any subset of layers can be analysed without weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from filterzoo.measures.dct import dct_basis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from filterzoo.layers.layer import Doubles

FILTER_SIZE: Final = 9
PACKED_SIZE: Final = FILTER_SIZE * (FILTER_SIZE + 1) // 2


def pack(m2: Doubles) -> Doubles:
    """(..., 9, 9) symmetric -> (..., 45): the upper triangle, row by row, with the diagonal."""
    rows, columns = np.triu_indices(FILTER_SIZE)
    packed: Doubles = m2[..., rows, columns]
    return packed


def unpack(packed: Doubles) -> Doubles:
    """(..., 45) -> (..., 9, 9) symmetric: the inverse of `pack`."""
    rows, columns = np.triu_indices(FILTER_SIZE)
    m2 = np.empty((*packed.shape[:-1], FILTER_SIZE, FILTER_SIZE))
    m2[..., rows, columns] = packed
    m2[..., columns, rows] = packed
    return m2


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Number, mean and scatter of a set of filters.

    mean: float64 (9,), zeros when count is 0. m2: float64 (9, 9), the sum of (f - mean)(f - mean)^T, not divided.
    """

    count: int
    mean: Doubles
    m2: Doubles

    @classmethod
    def from_packed(cls, count: int, mean: Doubles, packed: Doubles) -> Moments:
        """Create it from the columns of the `layers` table: `n_finite`, `raw_mean` and `raw_m2`, or the scaled ones."""
        return cls(count, mean, unpack(packed))

    @classmethod
    def empty(cls) -> Moments:
        """The moments of an empty set."""
        return cls(0, np.zeros(FILTER_SIZE), np.zeros((FILTER_SIZE, FILTER_SIZE)))

    @property
    def packed(self) -> Doubles:
        """(45,) float64: m2 as the `layers` table stores it."""
        return pack(self.m2)

    @property
    def scatter(self) -> float:
        """Trace of m2: the sum of squared distances from the mean."""
        return float(np.trace(self.m2))

    @property
    def sum_of_squares(self) -> float:
        """The sum of all squared numbers, uncentred."""
        return self.scatter + self.count * float(self.mean @ self.mean)

    def merge(self, other: Moments) -> Moments:
        """The moments of both sets together (Chan, Golub & LeVeque 1979, for vectors)."""
        if self.count == 0 or other.count == 0:
            return other if self.count == 0 else self
        count = self.count + other.count
        difference = other.mean - self.mean
        mean = self.mean + difference * (other.count / count)
        m2 = self.m2 + other.m2 + np.outer(difference, difference) * (self.count * (other.count / count))
        return Moments(count, mean, m2)


def merge_moments(counts: Sequence[int] | npt.NDArray[np.int64], means: Doubles, m2s: Doubles) -> Moments:
    """Merge many sets at once: counts (k,), means (k, 9), m2s (k, 9, 9).

    The same sum as `Moments.merge` from left to right, up to rounding: each set's scatter plus that of its mean about
    the common mean. Equal input in equal order gives equal bytes, so callers sort the sets first (layers by
    `layer_id`).
    """
    weights = np.asarray(counts, dtype=np.float64)
    total = int(np.asarray(counts, dtype=np.int64).sum())
    if total == 0:
        return Moments.empty()
    pivot = means[np.argmax(weights > 0)]
    mean = pivot + (weights[:, None] * (means - pivot)).sum(axis=0) / total
    # An empty set's mean of zeros is not an observation; its weight of 0 excludes it.
    differences = means - mean
    between = (weights[:, None] * differences).T @ differences
    return Moments(total, mean, m2s.sum(axis=0) + (between + between.T) / 2)


def dct_variance(moments: Moments) -> Doubles | None:
    """(9,) float64: the variance of each coefficient, diag(B M2 B^T) / (n - 1); None below two filters."""
    if moments.count < 2:
        return None
    basis = dct_basis()
    variance: Doubles = np.einsum("ij,jk,ik->i", basis, moments.m2, basis) / (moments.count - 1)
    return np.maximum(variance, 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class FilterStatistics:
    """Everything that merges, for one layer or any set of layers.

    histogram: int64 (9, 70), coefficients of the scaled filters in the bins of `measures.dct`; rows sum to the count.
    l1_norm, l2_norm: over all numbers of all finite filters.
    """

    raw: Moments
    scaled: Moments
    histogram: npt.NDArray[np.int64]
    sparse_count: int
    l1_norm: float
    l2_norm: float

    @property
    def n_finite(self) -> int:
        """Number of finite filters, the n of every statistic here."""
        return self.raw.count

    @property
    def sparsity(self) -> float | None:
        """Share of sparse filters; None without filters."""
        return self.sparse_count / self.n_finite if self.n_finite else None


def merge_statistics(parts: Sequence[FilterStatistics]) -> FilterStatistics:
    """The statistics of all parts together. Counts are exact; sums depend on the order of parts by rounding only.

    Raises:
        ValueError: there is no part.
    """
    if not parts:
        raise ValueError("nothing to merge: give at least one layer's statistics")
    return FilterStatistics(
        raw=_merge([part.raw for part in parts]),
        scaled=_merge([part.scaled for part in parts]),
        histogram=np.sum([part.histogram for part in parts], axis=0),
        sparse_count=sum(part.sparse_count for part in parts),
        l1_norm=float(np.sum([part.l1_norm for part in parts])),
        l2_norm=float(np.sqrt(np.sum(np.square([part.l2_norm for part in parts])))),
    )


def _merge(parts: Sequence[Moments]) -> Moments:
    return merge_moments(
        [part.count for part in parts],
        np.stack([part.mean for part in parts]),
        np.stack([part.m2 for part in parts]),
    )
