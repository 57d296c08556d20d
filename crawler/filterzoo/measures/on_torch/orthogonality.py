"""`filterzoo.measures.orthogonality` on a device of torch."""

from __future__ import annotations

from typing import Final

import torch

from filterzoo.measures.orthogonality import pairs_to_compare

_ROWS: Final = {"cpu": 256, "cuda": 2048}
"""Rows of a tile. Only tiles on and above the diagonal are multiplied: small tiles save work, large ones are faster."""
_NUMBERS: Final = {"cpu": 2**21, "cuda": 2**26}
"""Most numbers of one operand: this bounds the memory for any shape of a layer."""


def orthogonality(
    weights: torch.Tensor, groups: int, products: torch.Tensor | None = None, peak: float = 1.0
) -> float | None:
    """See `measures.orthogonality.orthogonality`; weights and products: tensors on one device."""
    shape = pairs_to_compare(tuple(weights.shape), groups)
    if shape is None:
        return None
    rows = weights.reshape(shape)
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
    # Each row is divided by its largest number, so that squares neither overflow nor underflow.
    divisors = peaks.masked_fill(peaks == 0, 1.0).unsqueeze(2)
    # Callers may have allowed TF32 or bfloat16 in float32 products, which is too imprecise; float64 never uses them.
    dtype = torch.float32 if torch.get_float32_matmul_precision() == "highest" else torch.float64
    inverse = torch.empty_like(peaks, dtype=torch.float64)
    total = torch.zeros((), dtype=torch.float64, device=rows.device)
    # From the last tile up: a tile's product with itself yields the lengths of its rows, which later tiles need.
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
