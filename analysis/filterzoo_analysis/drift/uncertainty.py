"""Uncertainty of drifts and means: bootstrap over models, permutation tests, multiple comparisons."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles, Floats
from filterzoo.measures.statistics import FILTER_SIZE
from filterzoo_analysis.drift.cells import Cells
from filterzoo_analysis.drift.chance import expected_matrix
from filterzoo_analysis.tables.statistics import Bools, Ints

FEWEST_MODELS = 3
"""Groups of fewer models have no interval and are marked."""
HOLLOW = f"Hollow points: fewer than {FEWEST_MODELS} models, no interval."
REPLICATES = 1000
LEVEL = 0.95
"""Coverage of every interval."""
RATE = 0.05
"""False discovery rate at which drifts are significant (Benjamini & Hochberg 1995)."""
_EMPTY_BIN = float(np.finfo(np.float32).eps)
_CHUNK = 50
"""Replicates whose drifts are computed at a time, so that they fit in the cache."""
_QUANTILES = ((1 - LEVEL) / 2, 0.5, (1 + LEVEL) / 2)
_Z = NormalDist().inv_cdf(_QUANTILES[-1])


@dataclass(frozen=True, slots=True, eq=False)
class DriftMatrix:
    """Drift between each two groups of `labels`, with its uncertainty. All (k, k), NaN where undefined.

    low, high: bootstrap interval over the models of each group. null: mean drift after random exchanges of models
    between the groups. p: share of exchanges with at least this drift. q: p adjusted for all pairs of the matrix.
    models, filters: (k,), their numbers. expected: drift between as many filters drawn from the distribution of all
    groups together. by_models: the drift with equal weights for the models of a group. largest_share: (k,), the share
    of a group's filters that come from its largest model.
    """

    by: str
    labels: tuple[str, ...]
    models: Ints
    filters: Ints
    drift: Doubles
    low: Doubles
    high: Doubles
    null: Doubles
    p: Doubles
    q: Doubles
    expected: Doubles
    by_models: Doubles
    largest_share: Doubles

    @property
    def stands_out(self) -> Bools:
        """Whether the drift is significant after correction for all pairs."""
        found: Bools = self.q <= RATE
        return found

    @property
    def order(self) -> Ints:
        """The indices of the groups by descending mean drift from the others, as in the heat map."""
        others = np.where(np.eye(len(self.labels), dtype=bool), np.nan, self.drift)
        means = np.nanmean(others, axis=1) if len(self.labels) > 1 else np.zeros(len(self.labels))
        return np.argsort(-means, kind="stable")

    @property
    def upper(self) -> Doubles:
        """The drifts of the strict upper triangle, for box plots."""
        found: Doubles = self.drift[np.triu_indices(len(self.labels), 1)]
        return found


def drift_matrix(cells: Cells, replicates: int = REPLICATES, seed: int = 0) -> DriftMatrix:
    """Drift between each two groups, with intervals and a null distribution.

    Models are resampled, because the filters of a model are not independent. The basis and the weights are computed
    from all data and stay fixed.
    """
    groups = len(cells.labels)
    models = np.array(cells.models(), np.int64)
    totals = (
        np.stack([cells.histogram[cells.members(group)].sum(axis=0) for group in range(groups)])
        if groups
        else np.zeros((0, 630))
    )
    drift = _matrix(totals, cells.weights, cells.bin_width)
    low, high = _intervals(cells, drift, models, replicates, np.random.default_rng(seed))
    null, p = _exchanged(cells, totals, drift, replicates, np.random.default_rng(seed + 1))
    filters = np.array(cells.filters(), np.int64)
    weighted = cells.by_models() if groups else np.zeros((0, 630))
    return DriftMatrix(
        by=cells.by,
        labels=cells.labels,
        models=models,
        filters=filters,
        drift=drift,
        low=low,
        high=high,
        null=null,
        p=p,
        q=adjusted(p),
        expected=expected_matrix(totals.sum(axis=0), filters, cells.weights, cells.bin_width),
        by_models=_matrix(weighted, cells.weights, cells.bin_width),
        largest_share=np.array(cells.largest_shares()),
    )


def distributions(counts: Doubles, bin_width: float) -> Doubles:
    """Counts (..., 9 * 70) -> distributions (..., 9, 70) without zeros (docs/measures.md, 5)."""
    counts = counts.reshape(*counts.shape[:-1], FILTER_SIZE, -1)
    density = counts / (counts.sum(axis=-1, keepdims=True) * bin_width)
    density[counts == 0] = _EMPTY_BIN
    normalised: Doubles = density / density.sum(axis=-1, keepdims=True)
    return normalised


def drift_between(first: Doubles, second: Doubles, weights: Doubles, bin_width: float) -> Doubles:
    """Drift between counts (..., 630) and counts (..., 630): (...)."""
    p, q = distributions(first, bin_width), distributions(second, bin_width)
    divergence = ((p - q) * np.log(p / q)).sum(axis=-1)
    found: Doubles = divergence @ weights
    return found


def mean_interval(
    values: Doubles, seed: int = 0, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float, float]:
    """(mean, low, high) of a value for each model. The interval is clipped to `bounds`; NaN below FEWEST_MODELS."""
    values = values[np.isfinite(values)]
    if not len(values):
        return (np.nan, np.nan, np.nan)
    if len(values) < FEWEST_MODELS:
        return (float(values.mean()), np.nan, np.nan)
    drawn = np.random.default_rng(seed).integers(len(values), size=(REPLICATES, len(values)))
    mean = float(values.mean())
    low, high = widened(values[drawn].mean(axis=1), len(values)).clip(*bounds)
    return (mean, min(mean, float(low)), max(mean, float(high)))


def widened(drawn: Doubles | Floats, models: int | Ints) -> Doubles:
    """(2, ...): the percentile interval of replicates (first axis), widened for small numbers of models.

    The bootstrap variance of a mean of n models is too small by the factor (n - 1) / n, and is uncertain itself. The
    factor sqrt(n / (n - 1)) and Student's t instead of the normal distribution correct for both, as in the expanded
    percentile interval (Hesterberg 2015, doi:10.1080/00031305.2015.1089789). NaN below FEWEST_MODELS models.
    """
    low, middle, high = np.quantile(drawn, _QUANTILES, axis=0)
    count = np.where(np.asarray(models) < FEWEST_MODELS, np.nan, models)
    factor = _student(count - 1) / _Z * np.sqrt(count / (count - 1))
    found: Doubles = middle + factor * np.stack([low - middle, high - middle])
    return found


def adjusted(p: Doubles) -> Doubles:
    """Benjamini & Hochberg's q of a symmetric matrix of p values, where each pair is a comparison. NaN stays NaN."""
    upper = np.triu_indices(len(p), 1)
    q = np.full_like(p, np.nan)
    q[upper] = q.T[upper] = adjusted_list(p[upper])
    return q


def adjusted_list(p: Doubles) -> Doubles:
    """Benjamini & Hochberg's q of p values (n,)."""
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known])]
    scaled = p[order] * len(order) / np.arange(1, len(order) + 1)
    q = p.copy()
    q[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    return q


def with_null_share(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds `null_share`, the null's share of the drift, and `q`, over all rows, to rows of drift, null_mean and p."""
    q = adjusted_list(np.array([row["p"] for row in rows], dtype=float))
    shares = [min(1.0, row["null_mean"] / row["drift"]) if row["drift"] > 0 else np.nan for row in rows]
    return [row | {"null_share": share, "q": each} for row, share, each in zip(rows, shares, q, strict=True)]


def interval_of(drift: Doubles, drawn: Doubles | Floats, models: int | Ints) -> tuple[Doubles, Doubles]:
    """Interval of a drift from replicates (first axis). models: number in the smaller group; NaN below FEWEST_MODELS.

    Resampling biases a drift upwards a second time, so quantiles are mirrored about the estimate (the basic bootstrap).
    This is done on square roots, whose spread hardly depends on the drift. An interval that ends below the estimate is
    extended to include it.
    """
    far, near = widened(np.sqrt(drawn), models)[::-1]
    low, high = (np.maximum(2 * np.sqrt(drift) - end, 0.0) ** 2 for end in (far, near))
    return np.minimum(low, drift), np.maximum(high, drift)


def _student(freedom: Any) -> Any:
    """The quantile of Student's t at _QUANTILES[-1], within 1 % for 2 or more degrees of freedom.

    Abramowitz & Stegun 1964, 26.7.5.
    """
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def _matrix(totals: Doubles, weights: Doubles, bin_width: float) -> Doubles:
    """(..., k, 630) counts -> (..., k, k) drifts, with sum (p - q)(log p - log q) = pp + qq - pq - qp."""
    p = distributions(totals, bin_width)
    logs = np.log(p).reshape(*p.shape[:-2], -1)
    weighted = (p * weights[:, None]).reshape(logs.shape)
    cross = weighted @ np.swapaxes(logs, -1, -2)
    own = np.diagonal(cross, axis1=-2, axis2=-1)
    drift = own[..., :, None] + own[..., None, :] - cross - np.swapaxes(cross, -1, -2)
    drift[..., np.arange(drift.shape[-1]), np.arange(drift.shape[-1])] = 0.0
    return np.maximum(drift, 0.0)


def _intervals(
    cells: Cells, drift: Doubles, models: Ints, replicates: int, rng: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """Bootstrap intervals. Models are resampled within each group, models of several groups for all of them at once."""
    times = _times_drawn(cells, replicates, rng)
    totals = np.empty((replicates, len(models), cells.histogram.shape[1]))
    for group in range(len(models)):
        members = cells.members(group)
        totals[:, group] = times[:, members] @ cells.histogram[members]
    drawn = np.empty((replicates, *drift.shape), np.float32)
    for start in range(0, replicates, _CHUNK):
        chunk = _never_empty(totals[start : start + _CHUNK])
        drawn[start : start + _CHUNK] = _matrix(chunk, cells.weights, cells.bin_width)
    low, high = interval_of(drift, drawn, np.minimum(models[:, None], models[None, :]))
    np.fill_diagonal(low, np.nan)
    np.fill_diagonal(high, np.nan)
    return low, high


def _never_empty(totals: Doubles) -> Doubles:
    """Replace empty histograms by uniform ones: a replicate may lack a depth. This widens the interval."""
    empty = totals.sum(axis=-1) == 0
    if empty.any():
        totals[empty] = 1.0
    return totals


def _times_drawn(cells: Cells, replicates: int, rng: np.random.Generator) -> Doubles:
    """(replicates, cells): the multiplicity of each cell's model."""
    if _is_shared(cells):
        names, place = np.unique(cells.model, return_inverse=True)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=replicates)
        return drawn[:, place].astype(np.float64)
    times = np.zeros((replicates, len(cells.model)))
    for group in range(len(cells.labels)):
        members = cells.members(group)
        times[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=replicates)
    return times


def _is_shared(cells: Cells) -> bool:
    """Whether models have filters in several groups."""
    return len(np.unique(cells.model)) < len(cells.model)


def _exchanged(
    cells: Cells, totals: Doubles, drift: Doubles, replicates: int, rng: np.random.Generator
) -> tuple[Doubles, Doubles]:
    """For each pair: mean drift after random exchanges of models, and the share of exchanges that reach the drift."""
    null, p = np.full_like(drift, np.nan), np.full_like(drift, np.nan)
    for first in range(len(drift)):
        for second in range(first):
            drawn = exchanged_drifts(cells, totals, (first, second), replicates, rng)
            if drawn is not None:
                null[first, second] = null[second, first] = drawn.mean()
                reached = np.count_nonzero(drawn >= drift[first, second] * (1 - 1e-9))
                p[first, second] = p[second, first] = (1 + reached) / (1 + len(drawn))
    return null, p


def exchanged_drifts(
    cells: Cells, totals: Doubles, pair: tuple[int, int], replicates: int, rng: np.random.Generator
) -> Doubles | None:
    """Drifts between two groups after random exchanges of models; None if a group has fewer than FEWEST_MODELS.

    Models that are in both groups (depths) exchange their two parts. Others are reassigned; the sizes of groups stay.
    """
    small, large = sorted((cells.members(group) for group in pair), key=len)
    if len(small) < FEWEST_MODELS:
        return None
    both = totals[list(pair)].sum(axis=0)
    if np.isin(cells.model[small], cells.model[large]).any():
        moved = _swapped(cells, small, large, replicates, rng)
    else:
        moved = _dealt(cells, np.concatenate([small, large]), len(small), replicates, rng)
    found = np.empty(replicates)
    for start in range(0, replicates, _CHUNK):
        chunk = moved[start : start + _CHUNK]
        rest = both - chunk
        drifts = drift_between(_never_empty(chunk), _never_empty(rest), cells.weights, cells.bin_width)
        found[start : start + _CHUNK] = drifts
    return found


def _dealt(cells: Cells, everyone: Ints, count: int, replicates: int, rng: np.random.Generator) -> Doubles:
    """Histograms summed over `count` cells, drawn without replacement."""
    chosen = np.argpartition(rng.random((replicates, len(everyone))), count - 1, axis=1)[:, :count]
    taken = np.zeros((replicates, len(everyone)))
    np.put_along_axis(taken, chosen, 1.0, axis=1)
    # Sums of integers below 2^53 are exact in any order.
    totals: Doubles = taken @ cells.histogram[everyone]
    return totals


def _swapped(cells: Cells, small: Ints, large: Ints, replicates: int, rng: np.random.Generator) -> Doubles:
    """Histograms of the group `small` when each model exchanges its cells with probability 1/2."""
    names = np.union1d(cells.model[small], cells.model[large])
    change = np.zeros((len(names), cells.histogram.shape[1]))
    np.add.at(change, np.searchsorted(names, cells.model[large]), cells.histogram[large])
    np.subtract.at(change, np.searchsorted(names, cells.model[small]), cells.histogram[small])
    swap = rng.integers(2, size=(replicates, len(names))).astype(np.float64)
    # Counts are integers: fractions are rounding errors of the product.
    swapped: Doubles = np.rint(cells.histogram[small].sum(axis=0) + swap @ change)
    return swapped
