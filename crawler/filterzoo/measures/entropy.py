"""Principal components of filters, and measures of their variances: entropy, its threshold, degeneration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from filterzoo.measures.statistics import FILTER_SIZE

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles
    from filterzoo.measures.statistics import Moments

_NO_VARIANCE: Final = 1e-24
"""A scatter below this share of the sum of squares is rounding error of the mean, not variance."""


@dataclass(frozen=True, slots=True, eq=False)
class PrincipalComponents:
    """A PCA of filters. All float64.

    mean: (9,). components: (9, 9), one per row, by descending variance; the entry of largest absolute value (the first
    of equals) is positive. variance: (9,), of the coefficients, divided by n - 1. ratio: (9,), variance / its sum.
    """

    mean: Doubles
    components: Doubles
    variance: Doubles
    ratio: Doubles


def principal_components(moments: Moments) -> PrincipalComponents | None:
    """The PCA of the filters summarised by `moments`; None below two filters. Without variance, every ratio is 0."""
    if moments.count < 2:
        return None
    ascending, vectors = np.linalg.eigh(moments.m2 / (moments.count - 1))
    variance = np.maximum(ascending[::-1], 0.0)
    components = vectors.T[::-1]
    largest = np.abs(components).argmax(axis=1)
    signs = np.sign(components[np.arange(FILTER_SIZE), largest])
    total = float(variance.sum())
    return PrincipalComponents(
        mean=moments.mean,
        components=components * signs[:, None],
        variance=variance,
        ratio=variance / total if total > 0 else np.zeros(FILTER_SIZE),
    )


def variance_entropy(moments: Moments) -> float | None:
    """Entropy of the shares of variance along the principal axes, in decimal digits: 0 to log10(9) = .954.

    H = -sum p_i log10 p_i (Gavrikov & Keuper, CVPR 2022). None below two filters, 0.0 without variance.
    """
    if moments.count < 2:
        return None
    if moments.scatter <= _NO_VARIANCE * moments.sum_of_squares:
        return 0.0
    variance = np.maximum(np.linalg.eigvalsh(moments.m2), 0.0)
    shares = variance[variance > 0] / variance.sum()
    return max(0.0, -float(shares @ np.log10(shares)))


def variance_entropy_threshold(n_finite: int) -> float | None:
    """The entropy above which a layer of n filters counts as random; None below three filters, where it is negative.

    T_H(n) = L / (1 + exp(-k (log2 n - x0))) + b, a fit to the smallest entropy of layers drawn from a normal
    distribution (Gavrikov & Keuper, CVPR 2022; constants as in torchconvquality 0.3.0).
    """
    if n_finite < 3:
        return None
    return 1.2618047 / (1 + math.exp(-0.88767525 * (math.log2(n_finite) - 2.30436435))) - 0.31050834


def is_degenerated(entropy: float | None, threshold: float | None, sparsity: float | None) -> bool | None:
    """Whether a layer's filters look random, or collapsed and sparse; None if a measure is undefined."""
    if entropy is None or threshold is None or sparsity is None:
        return None
    return entropy >= threshold - 0.02 or (entropy < 0.5 and sparsity >= 0.14)
