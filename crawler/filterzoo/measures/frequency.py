"""Frequency content of a layer's filters: how their energy is spread over radial frequencies of their DCT."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from filterzoo.measures.dct import dct_basis

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles
    from filterzoo.measures.statistics import Moments
    from filterzoo.measures.sweep import Blocks

SIDES: Final = range(3, 8)
"""Sides of the square kernels that have a frequency content."""


def is_measured(kernel: list[int]) -> bool:
    """Whether a kernel of that size has a frequency content: 3x3 to 7x7."""
    return len(kernel) == 2 and kernel[0] == kernel[1] and kernel[0] in SIDES


def frequency_energy(blocks: Blocks, kernel: list[int], raw: Moments | None) -> Doubles | None:
    """Share of the energy of a layer's finite filters by radial frequency, 0 first; sums to 1.

    Filter f has the coefficients c[u, v] of the orthonormal DCT-II; the energy of (u, v) is the sum of c[u, v]^2, and
    its radial frequency the integer nearest to sqrt(u^2 + v^2), in units of 1 / (2 side) cycles a pixel. None for other
    kernels than 3x3 to 7x7, without finite filters, and where all are zeros. raw: moments of 3x3 filters, from which
    the same follows without another look at them.
    """
    if not is_measured(kernel) or not blocks.n_finite or blocks.peak == 0:
        return None
    side = kernel[0]
    basis = _basis(side)
    if raw is None:
        energy = _energy(blocks, torch.from_numpy(basis).to(blocks.device))
    else:
        scatter = raw.m2 + raw.count * np.outer(raw.mean, raw.mean)
        energy = np.einsum("ij,jk,ik->i", basis, scatter, basis)
    shares: Doubles = np.bincount(_radii(side), weights=np.maximum(energy, 0.0)).astype(np.float64)
    total = float(shares.sum())
    return shares / total if total > 0 else None


def _energy(blocks: Blocks, basis: torch.Tensor) -> Doubles:
    """Of each coefficient, of the filters divided by the layer's largest number, so that no square vanishes."""
    total = torch.zeros(len(basis), dtype=torch.float64, device=blocks.device)
    for block in blocks:
        total += torch.mm(basis, block.double().div_(blocks.peak).T).square_().sum(dim=1)
    found: Doubles = total.cpu().numpy()
    return found


@functools.cache
def _basis(side: int) -> Doubles:
    """(side^2, side^2): row side * u + v is the basis filter of (u, v)."""
    if side == 3:
        return dct_basis()
    place = np.arange(side)
    rows = np.cos(np.pi * (2 * place[None, :] + 1) * place[:, None] / (2 * side)) * np.sqrt(2 / side)
    rows[0] /= np.sqrt(2)
    basis: Doubles = np.kron(rows, rows)
    return basis


@functools.cache
def _radii(side: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(side^2,): the radial frequency of each coefficient."""
    place = np.arange(side)
    return np.rint(np.hypot(place[:, None], place[None, :])).astype(np.int64).ravel()
