"""Evidence of descent: the kurtosis of a layer's weights, and a few weights at fixed positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from filterzoo.measures.compiled.kernels import central_powers

if TYPE_CHECKING:
    from filterzoo.layers.layer import Floats
    from filterzoo.measures.compiled.kernels import Totals

PROBES: Final = 32
"""Number of weights of a layer that are kept."""
_ROUNDING: Final = 1e-20
"""A scatter below this share of the sum of squares is rounding error."""


def kurtosis(filters: Floats, totals: Totals, peak: float) -> float | None:
    """n sum (w - mean)^4 / (sum (w - mean)^2)^2 over the numbers w of finite filters (n, k): 3 of a normal law.

    It is computed from the sums of powers if the mean is small, as in most layers; otherwise differences of such sums
    would lose digits, and a second pass is made. totals: of the filters; peak: their largest absolute value. None if
    all are equal.
    """
    count = filters.size
    if not count or peak <= 0:
        return None
    mean = totals.plain / count
    squares = mean * totals.plain
    if squares > totals.squares / 2:
        return kurtosis_of(count, *central_powers(filters, peak))
    fourth = totals.fourths - 4 * mean * totals.cubes + 6 * mean * mean * totals.squares - 3 * mean * mean * squares
    return count * fourth / (totals.squares - squares) ** 2


def kurtosis_of(count: int, second: float, fourth: float) -> float | None:
    """The same from the sums of second and fourth central powers of numbers in [-1, 1], one of which is 1 or -1."""
    return count * fourth / second**2 if second > _ROUNDING * count else None


def probe(weights: Floats) -> Floats:
    """Weights at fixed positions, so that layers of equal shapes can be compared: PROBES of them, or all.

    The positions are the middles of PROBES equal parts of the flattened layer.
    """
    flat = weights.reshape(-1)
    if flat.size <= PROBES:
        return flat.copy()
    places = (2 * np.arange(PROBES, dtype=np.int64) + 1) * flat.size // (2 * PROBES)
    found: Floats = flat[places]
    return found
