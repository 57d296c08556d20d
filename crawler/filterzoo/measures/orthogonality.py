"""How far the filters of a layer point in different directions: one minus the mean absolute cosine of its rows."""

from __future__ import annotations

from typing import Final

import torch

_ROWS: Final = {"cpu": 256, "cuda": 2048}
"""Rows of a tile. Only tiles on and above the diagonal are multiplied: small ones save work, large ones run faster."""
_NUMBERS: Final = {"cpu": 2**21, "cuda": 2**26}
"""Numbers of one operand at most: what bounds the memory, whatever the layer's shape."""
MAX_PAIRS: Final = 2**28
"""Most ordered pairs of rows that are compared, in all groups (16,384 rows of one group) ..."""
MAX_PRODUCTS: Final = 2**40
"""... and most products for them (pairs times numbers of a row): a minute of a slow core. Beyond either the measure is
None: time grows with the square of the rows, and a sample of the pairs would be another measure."""


def orthogonality(
    weights: torch.Tensor, groups: int, products: torch.Tensor | None = None, peak: float = 1.0
) -> float | None:
    """1 - mean abs(cosine) over ordered pairs of different rows of the same group, rows of zeros left out.

    weights: finite float32 (out, in/groups, *kernel); a row is the flattened `weights[o]`. None without such a pair,
    or with more than `MAX_PAIRS` of them or `MAX_PRODUCTS` products.
    products: float64 (out, out), for one group: on and above its diagonal it takes the products of the rows divided by
    `peak`, which other measures need as well. It stays as it is where the result is None.
    Gavrikov & Keuper, CVPR 2022, except that depthwise rows, which see different inputs, are not compared.
    """
    out = weights.shape[0]
    if out <= groups or weights.numel() == 0:
        return None
    rows = weights.reshape(groups, out // groups, -1)
    ordered = groups * rows.shape[1] * (rows.shape[1] - 1)
    if ordered > MAX_PAIRS or ordered * rows.shape[2] > MAX_PRODUCTS:
        return None
    numbers = _NUMBERS[weights.device.type]
    side = max(1, min(_ROWS[weights.device.type], rows.shape[1], numbers // rows.shape[2]))
    batch = max(1, numbers // (side * (side + rows.shape[2])))
    total, pairs = 0.0, 0
    for some in torch.split(rows, batch):
        cosines, count = _absolute_cosines(some, side, products, peak)
        total += cosines
        pairs += count
    return max(0.0, 1.0 - total / pairs) if pairs else None


def _absolute_cosines(
    rows: torch.Tensor, side: int, kept: torch.Tensor | None = None, peak: float = 1.0
) -> tuple[float, int]:
    """(groups, m, k) -> sum of abs(cosine) over the ordered pairs of different rows of a group, and their number."""
    peaks = torch.maximum(rows.amax(dim=2), -rows.amin(dim=2))
    # Divided by its largest number, no row's squares overflow or vanish, whatever the layer's magnitude.
    divisors = peaks.masked_fill(peaks == 0, 1.0).unsqueeze(2)
    # Callers may have allowed TF32 or bfloat16 in float32 products, too coarse here; float64 products never use them.
    dtype = torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64
    inverse = torch.empty_like(peaks, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    # From the last tile up: the product of a tile with itself gives its rows' lengths, for the tiles that follow.
    for i in reversed(range(0, rows.shape[1], side)):
        left = (rows[:, i : i + side] / divisors[:, i : i + side]).to(dtype)
        for j in range(i, rows.shape[1], side):
            right = left if j == i else (rows[:, j : j + side] / divisors[:, j : j + side]).to(dtype)
            products = torch.bmm(left, right.transpose(1, 2))
            if kept is not None:
                scale = divisors[0, i : i + side].double() / peak, divisors[0, j : j + side].double() / peak
                kept[i : i + side, j : j + side] = products[0].double().mul_(scale[0]).mul_(scale[1].T)
            products.abs_()
            if j == i:
                squares = products.diagonal(dim1=1, dim2=2)
                inverse[:, i : i + side] = squares.double().clamp_min(1.0).rsqrt()
                squares.zero_()
            weighted = torch.bmm(products.double(), inverse[:, j : j + side].unsqueeze(2)).squeeze(2)
            total += (weighted * inverse[:, i : i + side]).sum() * (1 if j == i else 2)
    alive = (peaks > 0).sum(dim=1)
    return float(total), int((alive * (alive - 1)).sum())
