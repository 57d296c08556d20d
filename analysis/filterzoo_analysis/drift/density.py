"""Kernel density estimates of histograms: the smooth curves of the papers' ridge plots."""

from __future__ import annotations

import numpy as np

from filterzoo.layers.layer import Doubles

_NARROWEST = 0.5
"""Smallest bandwidth, in bins: the resolution of the histogram."""


def kernel_density(counts: Doubles, edges: Doubles) -> Doubles:
    """(..., bins) counts over bins with the (bins + 1,) edges -> densities at the bins' centres.

    A normal kernel at the centre of each bin. Its bandwidth is Scott's (1992), sd * n^(-1/5), as in seaborn and SciPy,
    and at least half a bin. Filters count as if they were at the centres of their bins. Mass outside the range is not
    redistributed. Zeros if there are no filters.
    """
    width = float(edges[1] - edges[0])
    centres = (edges[1:] + edges[:-1]) / 2
    number = counts.sum(axis=-1, keepdims=True)
    share = np.divide(counts, number, out=np.zeros(counts.shape), where=number > 0)
    mean = (share * centres).sum(axis=-1, keepdims=True)
    spread = np.sqrt((share * (centres - mean) ** 2).sum(axis=-1, keepdims=True))
    bandwidth = np.maximum(spread * np.maximum(number, 1.0) ** -0.2, _NARROWEST * width)
    gap = centres[:, None] - centres[None, :]
    kernel = np.exp(-0.5 * (gap / bandwidth[..., None]) ** 2) / (np.sqrt(2 * np.pi) * bandwidth[..., None])
    found: Doubles = np.einsum("...ij,...j->...i", kernel, share)
    return found
