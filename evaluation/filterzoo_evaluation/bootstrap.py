"""Bootstrap intervals of the measures, by drawing samples with replacement."""

from __future__ import annotations

import numpy as np

from filterzoo_evaluation.measures import BINS, Scores, bins_of

DRAWS = 1000
_CHUNK = 20
Interval = tuple[float | None, float | None]


def intervals(found: Scores, seed: int) -> dict[str, Interval]:
    """95 % percentile intervals of accuracy, over_confidence, under_confidence and ece; (None, None) if undefined.

    Draws in which a measure is undefined are ignored. The result depends only on the scores, their order and the seed.
    """
    n = len(found.z)
    random = np.random.Generator(np.random.PCG64(seed))
    features = _features(found)
    drawn = [_drawn(random, n, min(_CHUNK, DRAWS - first)) @ features for first in range(0, DRAWS, _CHUNK)]
    sums = np.concatenate(drawn)
    right, z_right, z_wrong, gaps = sums[:, 0], sums[:, 1], sums[:, 2], sums[:, 3:]
    with np.errstate(divide="ignore", invalid="ignore"):
        draws = {
            "accuracy": right / n,
            "over_confidence": z_wrong / (n - right),
            "under_confidence": 1 - z_right / right,
            "ece": np.abs(gaps).sum(axis=1) / n,
        }
    return {name: _interval(values) for name, values in draws.items()}


def _features(found: Scores) -> np.ndarray:
    """(n, 3 + BINS): the contribution of each sample to the sums from which measures are computed."""
    features = np.zeros((len(found.z), 3 + BINS))
    features[:, 0] = found.right
    features[:, 1] = found.z * found.right
    features[:, 2] = found.z * ~found.right
    features[np.arange(len(found.z)), 3 + bins_of(found.z)] = found.right - found.z
    return features


def _drawn(random: np.random.Generator, n: int, draws: int) -> np.ndarray:
    """(draws, n): how often each sample was drawn."""
    return np.stack([np.bincount(random.integers(0, n, n), minlength=n) for _ in range(draws)]).astype(np.float64)


def _interval(values: np.ndarray) -> Interval:
    defined = values[np.isfinite(values)]
    if len(defined) < len(values) / 2:
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
