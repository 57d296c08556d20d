"""Orthogonality of a layer's filters: one minus the mean absolute cosine of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from filterzoo.measures.compiled.kernels import cosines_of_small_groups, weighted_sum

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles, Floats

_ROWS: Final = 256
"""Rows of a tile. Only tiles on and above the diagonal are multiplied: small tiles save work, large ones are faster."""
_NUMBERS: Final = 2**21
"""Most numbers of one operand: this bounds the memory for any shape of a layer."""
FEW_ROWS: Final = 16
"""Fewest rows of a group for which matrix products are worthwhile."""
MAX_PAIRS: Final = 2**28
"""Most ordered pairs of rows that are compared, in all groups (16,384 rows of one group) ..."""
MAX_PRODUCTS: Final = 2**40
"""... and most multiplications for them (pairs times numbers of a row): a minute of a slow core. Beyond either limit
the measure is None, since time grows with the square of the rows and a sample of pairs would be another measure.
"""


def pairs_to_compare(shape: tuple[int, ...], groups: int) -> tuple[int, int, int] | None:
    """(groups, rows of a group, numbers of a row) of a layer's shape; None if there are no pairs, or too many."""
    out, size = shape[0], int(np.prod(shape))
    if out <= groups or size == 0:
        return None
    rows, numbers = out // groups, size // out
    ordered = groups * rows * (rows - 1)
    return None if ordered > MAX_PAIRS or ordered * numbers > MAX_PRODUCTS else (groups, rows, numbers)


def orthogonality(weights: Floats, groups: int, products: Doubles | None = None, peak: float = 1.0) -> float | None:
    """1 - mean abs(cosine) over ordered pairs of different rows of the same group, rows of zeros left out.

    weights: finite float32 (out, in/groups, *kernel); a row is the flattened `weights[o]`. None without such a pair,
    or with more than `MAX_PAIRS` of them or `MAX_PRODUCTS` products.
    products: float64 (out, out), for one group: on and above its diagonal it receives the products of the rows divided
    by `peak`, which other measures need as well. It is unchanged if the result is None.
    Gavrikov & Keuper, CVPR 2022, except that depthwise rows, which see different inputs, are not compared.
    """
    shape = pairs_to_compare(weights.shape, groups)
    if shape is None:
        return None
    layer = weights.reshape(shape)
    if shape[1] <= FEW_ROWS and products is None:
        total, pairs = cosines_of_small_groups(layer)
    else:
        found = [_absolute_cosines(rows, products, peak) for rows in layer]
        total, pairs = sum(cosines for cosines, _ in found), sum(count for _, count in found)
    return max(0.0, 1.0 - total / pairs) if pairs else None


def _absolute_cosines(rows: Floats, kept: Doubles | None, peak: float) -> tuple[float, int]:
    """(m, k) -> sum of abs(cosine) over the ordered pairs of different rows, and their number."""
    side = max(1, min(_ROWS, len(rows), _NUMBERS // rows.shape[1]))
    peaks = np.maximum(rows.max(axis=1), -rows.min(axis=1))
    # Each row is divided by its largest number, so that squares neither overflow nor underflow.
    divisors: Floats = np.where(peaks == 0, np.float32(1), peaks)[:, None]
    inverse = np.empty(len(rows))
    scales = divisors.astype(np.float64) / peak
    total = 0.0
    # From the last tile up: a tile's product with itself yields the lengths of its rows, which later tiles need.
    for i in reversed(range(0, len(rows), side)):
        left = rows[i : i + side] / divisors[i : i + side]
        for j in range(i, len(rows), side):
            right = left if j == i else rows[j : j + side] / divisors[j : j + side]
            products: Floats = np.matmul(left, right.T)
            if kept is not None:
                tile = kept[i : i + side, j : j + side]
                np.multiply(products, scales[i : i + side], out=tile)
                tile *= scales[j : j + side].T
            if j == i:
                squares = products.diagonal()
                inverse[i : i + side] = 1 / np.sqrt(np.maximum(squares.astype(np.float64), 1.0))
                np.fill_diagonal(products, 0)
            found = weighted_sum(products, inverse[i : i + side], inverse[j : j + side])
            total += found * (1 if j == i else 2)
    alive = int((peaks > 0).sum())
    return total, alive * (alive - 1)
