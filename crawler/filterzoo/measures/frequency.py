"""Frequency content of a layer's filters: how their energy is spread over radial frequencies of their DCT."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

import numpy as np

from filterzoo.measures.dct import dct_basis

if TYPE_CHECKING:
    from filterzoo.layers.layer import Doubles, Floats
    from filterzoo.measures.statistics import Moments

_FILTERS: Final = 8192
"""Filters converted to float64 at a time."""
SIDES: Final = range(3, 8)
"""Sides of the square kernels that have a frequency content."""


def is_measured(kernel: list[int]) -> bool:
    """Whether a kernel of that size has a frequency content: 3x3 to 7x7."""
    return len(kernel) == 2 and kernel[0] == kernel[1] and kernel[0] in SIDES


def frequency_energy(energy: Doubles, side: int) -> Doubles | None:
    """Share of the energy of a layer's finite filters by radial frequency, 0 first; sums to 1.

    Filter f has the coefficients c[u, v] of the orthonormal DCT-II; the energy of (u, v) is the sum of c[u, v]^2, and
    its radial frequency the integer nearest to sqrt(u^2 + v^2), in units of 1 / (2 side) cycles a pixel. None if all
    filters are zeros. energy: (side^2,), of each coefficient, up to a common factor.
    """
    shares: Doubles = np.bincount(_radii(side), weights=np.maximum(energy, 0.0)).astype(np.float64)
    total = float(shares.sum())
    return shares / total if total > 0 else None


def energy_of_moments(raw: Moments) -> Doubles:
    """(9,): of each coefficient of 3x3 filters, from their moments."""
    scatter = raw.m2 + raw.count * np.outer(raw.mean, raw.mean)
    found: Doubles = np.einsum("ij,jk,ik->i", basis_of(3), scatter, basis_of(3))
    return found


def energy_of_filters(filters: Floats, peak: float, side: int) -> Doubles:
    """(side^2,): of each coefficient of finite filters (n, side^2), divided by `peak` so that no square underflows."""
    total = np.zeros(side * side)
    for first in range(0, len(filters), _FILTERS):
        coefficients = (filters[first : first + _FILTERS] / np.float64(peak)) @ basis_of(side).T
        total += np.einsum("ij,ij->j", coefficients, coefficients)
    return total


@functools.cache
def basis_of(side: int) -> Doubles:
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
