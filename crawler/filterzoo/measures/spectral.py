"""Spectral measures of a layer's matrix: spectral norm, stable and effective rank, and a power law of its spectrum."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from filterzoo.measures.compiled.kernels import eigenvalues_of, nearest_fit
from filterzoo.measures.orthogonality import FEW_ROWS

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles, Floats

MAX_SIDE: Final = 256
"""Most rows of the Gram matrix whose eigenvalues are computed."""
MAX_SHARE: Final = 0.5
"""Largest cost of a layer's spectrum relative to its other measures, both estimated. Wide layers, which take most of a
network's time, have no spectrum: so the spectra of a network cost a much smaller share.
"""
_SMALL: Final = 600.0
"""Microseconds that are always allowed for a layer's spectrum."""
LARGEST_IN_LOOPS: Final = 384
"""Most rows of a Gram matrix for which the loops of `eigenvalue_loops` are faster than LAPACK."""
FEWEST_VALUES: Final = 50
"""Fewest singular values for which the power law is fitted, as by WeightWatcher's default."""
_SMALL_VALUE: Final = 1e-5
"""Eigenvalues below this share of the largest are small: float32 products change larger ones by at most 1 % ..."""
_FEW: Final = 1 / 16
"""... and this share of small ones changes the effective rank by at most 1e-4, relatively."""
_ROWS: Final = 4096
"""Rows converted to float64 at a time."""
_NUMBERS: Final = 2**21
"""Most numbers of such rows."""


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Measures of the singular values s of W as (out, in/groups * kernel), largest first; None if undefined.

    spectral_norm: s[0]. stable_rank: sum s^2 / s[0]^2. effective_rank: exp of the entropy of s / sum s (Roy & Vetterli
    2007). power_law_alpha: of s^2, see `power_law_alpha`.
    """

    spectral_norm: float | None = None
    stable_rank: float | None = None
    effective_rank: float | None = None
    power_law_alpha: float | None = None


UNDEFINED: Final = Spectrum()


def takes_row_products(shape: tuple[int, ...], groups: int) -> bool:
    """Whether the row products computed by the orthogonality are the Gram matrix that the spectrum needs."""
    out, numbers = shape[0], math.prod(shape)
    return groups == 1 and FEW_ROWS < out <= numbers // max(1, out)


def is_affordable(shape: tuple[int, ...], groups: int) -> bool:
    """Whether a layer's spectrum costs at most MAX_SHARE of its other measures, or at most `_SMALL`.

    Eigenvalues cost the cube of the smaller side, the other measures about the number of weights: for wide layers the
    spectrum would cost more than all other measures. The estimate uses the shape alone, so that a column's nulls are
    the same on every machine.
    """
    out, numbers = shape[0], math.prod(shape)
    side = min(out, numbers // max(1, out))
    if side > MAX_SIDE:
        return False
    return cost(shape, groups) <= max(_SMALL, MAX_SHARE * cost_of_others(shape, groups))


def cost(shape: tuple[int, ...], groups: int) -> float:
    """Estimated microseconds of a layer's spectrum on one core.

    The loops have become about a quarter faster since. The estimate has not changed, because then other layers would
    have a spectrum.
    """
    out, numbers = shape[0], math.prod(shape)
    side = min(out, numbers // max(1, out))
    found = 50.0 + (40.0 if side >= FEWEST_VALUES else 0.0)
    found += 0.75 * side + 2.4e-4 * side**3 if side <= 160 else 60.0 + 950.0 * (side / 160) ** 2.35
    return found if takes_row_products(shape, groups) else found + 12.0 + 0.0022 * numbers + 2.6e-5 * side * numbers


def cost_of_others(shape: tuple[int, ...], groups: int) -> float:
    """Estimated microseconds of a layer's other measures: per number, and per pair of rows of one group."""
    out, numbers = shape[0], math.prod(shape)
    pairs = out * (out // groups) if out > groups else 0
    products = pairs * (numbers // max(1, out))
    if shape[2:] == (3, 3):
        return 264.0 + 0.0085 * numbers + 0.006 * pairs + 9e-6 * products
    return 88.0 + 0.0053 * numbers + 0.0017 * pairs + 6e-6 * products


def eigenvalues(weights: Floats, peak: float, products: Doubles | None = None) -> Doubles:
    """Ascending eigenvalues of the smaller Gram matrix of finite float32 (out, in/groups, *kernel) divided by `peak`.

    products: float64 (out, out), on and above the diagonal the float32 products of rows that were divided by `peak`, if
    they were computed. They are not used if they `lose_digits`.
    """
    if products is not None:
        found = _eigenvalues(products)
        if not lose_digits(found, products.diagonal()):
            return found
    return _eigenvalues(_gram(weights.reshape(weights.shape[0], -1), peak))


def lose_digits(ascending: Doubles, squares: Doubles) -> bool:
    """Whether a matrix has many small eigenvalues that the rounding of float32 products would hide.

    ascending: eigenvalues of a Gram matrix of such products; squares: its diagonal, the squared lengths of rows. Each
    short row causes one small eigenvalue, which is accurate, because each row is scaled before the multiplication.
    Further small eigenvalues come from nearly dependent rows: there the rounding error, about 1e-7 of the largest,
    would count as rank.
    """
    limit = _SMALL_VALUE * float(ascending[-1])
    small = int(np.searchsorted(ascending, limit))
    if small <= _FEW * len(ascending):
        return False
    return small - int((squares < 10 * limit).sum()) > _FEW * len(ascending)


def _eigenvalues(gram: Doubles) -> Doubles:
    """Ascending eigenvalues of a symmetric matrix, from its upper triangle."""
    if len(gram) <= LARGEST_IN_LOOPS:
        values = eigenvalues_of(gram)
        if values is not None:
            return values
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
    """The exponent of the power law that best fits the upper end of a spectrum, as in WeightWatcher 0.7.7.

    squares: positive eigenvalues of W W^T, in any order. For each of them but the largest as the lower end x, alpha is
    the maximum likelihood estimate 1 + n / sum ln(value / x) over the n values from x on (Clauset et al. 2009); the fit
    with the smallest Kolmogorov-Smirnov distance is taken. None below FEWEST_VALUES values, or if all are equal.
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
    """The squares without those that are zero up to the rounding of float32 products."""
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
