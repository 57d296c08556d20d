"""Spectral measures of a layer's matrix: spectral norm, stable and effective rank, and a power law of its spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from filterzoo.measures.kernels import nearest_fit

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles, Floats

MAX_SIDE: Final = 4096
"""Most rows and columns of the Gram matrix whose eigenvalues are taken."""
MAX_SHARE: Final = 0.35
"""Largest cost of a spectrum relative to a layer's other measures, by the estimate of `is_affordable`: 3x3 layers of
512 channels on both sides have one."""
_SMALL: Final = 5e5
"""Cost in nanoseconds that is allowed for any layer's spectrum."""
FEWEST_VALUES: Final = 50
"""Singular values from which on the power law is fitted, as WeightWatcher's default has it."""
_ROWS: Final = 4096
"""Rows converted to float64 at a time."""
_NUMBERS: Final = 2**21
"""Numbers of such rows at most."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Of the singular values s of W as (out, in/groups * kernel), largest first; None where undefined.

    spectral_norm: s[0]. stable_rank: sum s^2 / s[0]^2. effective_rank: exp of the entropy of s / sum s (Roy & Vetterli
    2007). power_law_alpha: of s^2, see `power_law_alpha`.
    """

    spectral_norm: float | None = None
    stable_rank: float | None = None
    effective_rank: float | None = None
    power_law_alpha: float | None = None


UNDEFINED: Final = Spectrum()


def takes_row_products(shape: tuple[int, ...], groups: int) -> bool:
    """Whether the products of rows that the orthogonality makes are the Gram matrix that is needed here."""
    out, numbers = shape[0], math.prod(shape)
    return groups == 1 and 1 < out <= numbers // max(1, out) and is_affordable(shape, groups)


def is_affordable(shape: tuple[int, ...], groups: int) -> bool:
    """Whether a layer's spectrum costs at most MAX_SHARE of its other measures, or next to nothing.

    Eigenvalues cost the cube of the smaller side, the other measures about the number of weights: for wide pointwise
    layers the spectrum would cost more than all else. Estimated from the shape alone, so that a column's nulls are the
    same on every machine: nanoseconds, as measured on one core.
    """
    out, numbers = shape[0], math.prod(shape)
    columns = numbers // max(1, out)
    side = min(out, columns)
    if side > MAX_SIDE:
        return False
    others = numbers * (12.0 if shape[2:] == (3, 3) else 4.0)
    others += 0.0145 * out * out * columns / groups
    own = 0.105 * side**3 + (5.0 * side**2 if side >= FEWEST_VALUES else 0.0)
    if groups != 1 or out > columns:
        own += 0.027 * side * numbers
    return own <= max(_SMALL, MAX_SHARE * others)


def eigenvalues(weights: Floats, peak: float, products: Doubles | None = None) -> Doubles:
    """Of the smaller Gram matrix of finite float32 (out, in/groups, *kernel), divided by `peak`: ascending.

    products: float64 (out, out), on and above the diagonal the products of rows that were divided by `peak`, if they
    were computed.
    """
    gram = _gram(weights.reshape(weights.shape[0], -1), peak) if products is None else products
    found: Doubles = np.asarray(np.linalg.eigvalsh(gram, UPLO="U"), np.float64)
    return found


def spectrum(ascending: Doubles, peak: float, l2_norm: float) -> Spectrum:
    """The measures of a layer that is not all zeros. ascending: `eigenvalues`; peak, l2_norm: of its weights."""
    squares: Doubles = np.maximum(ascending, 0.0)[::-1]
    if not math.isfinite(squares[0]) or squares[0] <= 0:
        return UNDEFINED
    singular = np.sqrt(squares)
    share = singular / singular.sum()
    share = share[share > 0]
    largest = float(singular[0])
    return Spectrum(
        spectral_norm=largest * peak,
        # The sum of all squares is known exactly, and a matrix has no rank below 1.
        stable_rank=max(1.0, (l2_norm / (largest * peak)) ** 2),
        effective_rank=float(np.exp(-(share * np.log(share)).sum())),
        power_law_alpha=power_law_alpha(_nonzero(squares)),
    )


def power_law_alpha(squares: Doubles) -> float | None:
    """The exponent of the power law that fits the upper end of a spectrum best, as WeightWatcher 0.7.7 fits it.

    squares: positive eigenvalues of W W^T, in any order. For each of them but the largest as the lower end x, alpha is
    the maximum likelihood estimate 1 + n / sum ln(value / x) over the n values from x on (Clauset et al. 2009); the one
    of smallest Kolmogorov-Smirnov distance is taken. None below FEWEST_VALUES values, or where all are equal.
    """
    values = np.sort(squares)
    if len(values) < FEWEST_VALUES or values[0] == values[-1]:
        return None
    logs = np.log(values)
    count = np.arange(len(values), 0, -1, dtype=np.float64)[:-1]
    sums = np.cumsum(logs[::-1])[::-1][:-1] - count * logs[:-1]
    with np.errstate(divide="ignore"):
        alphas = 1 + count / sums
    best = float(alphas[nearest_fit(logs, alphas)])
    return best if math.isfinite(best) else None


def _nonzero(squares: Doubles) -> Doubles:
    """Without those that are zero but for rounding: a product of float32 numbers carries no more."""
    limit = float(squares.max()) * len(squares) * float(np.finfo(np.float32).eps) ** 2
    found: Doubles = squares[squares > limit]
    return found


def _gram(matrix: Floats, peak: float) -> Doubles:
    """float64 M M^T or M^T M, whichever is smaller, of M = matrix / peak."""
    rows, columns = matrix.shape
    side = min(rows, columns)
    gram = np.zeros((side, side))
    step = max(1, min(_ROWS, _NUMBERS // side))
    for first in range(0, max(rows, columns), step):
        part = (matrix[first : first + step] if columns <= rows else matrix[:, first : first + step]) / np.float64(peak)
        gram += part.T @ part if columns <= rows else part @ part.T
    return gram
