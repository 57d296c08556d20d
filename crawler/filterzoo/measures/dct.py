"""The fixed basis of 3x3 filters: orthonormal DCT-II, and the bins in which its coefficients are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles

DCT_BINS: Final = 70
DCT_LIMIT: Final = 3.0
"""Largest absolute coefficient of a scaled filter: abs(c) <= norm2(f) <= sqrt(9 * 1^2)."""
DCT_SNAP: Final = 2**18
"""Coefficients are rounded to multiples of 1/DCT_SNAP before they are counted.

Zero is an edge between two bins. A coefficient that is zero by symmetry is computed as +-1e-16, so that rounding errors
alone would decide its bin.
"""
DCT_BIN_WIDTH: Final = 2 * DCT_LIMIT / DCT_BINS


def dct_basis() -> Doubles:
    """(9, 9) float64: row 3u+v is the basis filter outer(D[u], D[v]), flattened row-major; D is the 3-point DCT-II.

    Row 0 is the mean, row 1 the horizontal gradient, row 3 the vertical one. The rows are orthonormal.
    """
    cosines = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    cosines /= np.sqrt(np.array([[3.0], [2.0], [6.0]]))
    basis: Doubles = np.asarray(np.kron(cosines, cosines), np.float64)
    return basis


def dct_edges() -> Doubles:
    """(71,) float64: the edges of the bins of `dct_histogram`, the same for all nine coefficients."""
    return np.arange(-DCT_BINS // 2, DCT_BINS // 2 + 1) * (2 * DCT_LIMIT) / DCT_BINS


def dct_bins(coefficients: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.int64]:
    """The bin, 0 to 69, of each coefficient of a scaled filter; any shape. See `docs/measures.md`, histogram."""
    limit = int(DCT_LIMIT) * DCT_SNAP
    snapped = np.rint(coefficients.astype(np.float64) * DCT_SNAP).astype(np.int64)
    return np.clip((snapped + limit) * (DCT_BINS // 2) // limit, 0, DCT_BINS - 1)
