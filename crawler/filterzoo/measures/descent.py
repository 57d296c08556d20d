"""Evidence of descent: the kurtosis of a layer's weights, and a few weights at fixed places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from filterzoo.measures.kernels import central_powers

if TYPE_CHECKING:
    from filterzoo.layers.layer import Floats

PROBES: Final = 32
"""Numbers of a layer that are kept."""
_ROUNDING: Final = 1e-20
"""Share of the sum of squares below which a scatter is rounding error."""


def kurtosis(filters: Floats, peak: float) -> float | None:
    """n sum (w - mean)^4 / (sum (w - mean)^2)^2 over the numbers w of finite filters (n, k): 3 of a normal law.

    peak: their largest absolute value; numbers are divided by it, so that no power vanishes. None where all are equal.
    """
    return kurtosis_of(filters.size, *central_powers(filters, peak)) if filters.size and peak > 0 else None


def kurtosis_of(count: int, second: float, fourth: float) -> float | None:
    """The same from the sums of second and fourth central powers of numbers in [-1, 1], one of which is 1 or -1."""
    return count * fourth / second**2 if second > _ROUNDING * count else None


def probe(weights: Floats) -> Floats:
    """Numbers of a layer at fixed places, so that layers of equal shapes can be compared: PROBES of them, or all.

    The places are the middles of PROBES equal parts of the flattened layer.
    """
    flat = weights.reshape(-1)
    if flat.size <= PROBES:
        return flat.copy()
    places = (2 * np.arange(PROBES, dtype=np.int64) + 1) * flat.size // (2 * PROBES)
    found: Floats = flat[places]
    return found
