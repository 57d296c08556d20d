"""Two passes over a layer's filters on a device of torch: counts first, then norms, moments and histogram."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Final

import numpy as np
import torch

from filterzoo.measures.dct import DCT_BINS, DCT_LIMIT, DCT_SNAP, dct_basis
from filterzoo.measures.statistics import FILTER_SIZE, Moments, merge_moments
from filterzoo.measures.sums import Sums, sparse_limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

_TINY: Final = float(np.finfo(np.float32).smallest_subnormal)
"""Divisor for filters of zeros, which stay zeros; every other filter's peak is at least this."""

_COLUMNS: Final = DCT_BINS + 1
"""Bins of the histogram, one more than is kept: it counts coefficients of exactly +3, and is added to the last one."""

_BINS_PER_UNIT: Final = (DCT_BINS // 2) / (DCT_LIMIT * DCT_SNAP)


class Blocks:
    """The finite filters of a layer, a block at a time, in the layer's order.

    n_finite counts filters; nan_count and inf_count count numbers. peak: the largest absolute value among finite
    filters, 0.0 without any. is_clean: whether every number of the layer is finite.
    """

    def __init__(self, filters: torch.Tensor, size: int) -> None:
        """Scan float32 (n, k) filters once; blocks hold at most `size` of them."""
        self._filters = filters
        self._size = max(1, min(size, len(filters)))
        self.n_finite, self.nan_count, self.inf_count = len(filters), 0, 0
        self.peak = _peak(filters)
        self.is_clean = math.isfinite(self.peak)
        if not self.is_clean:
            self._count()

    @property
    def device(self) -> torch.device:
        """Where the filters are."""
        return self._filters.device

    def __len__(self) -> int:
        """Most blocks; blocks without a finite filter are omitted."""
        return math.ceil(len(self._filters) / self._size)

    def __iter__(self) -> Iterator[torch.Tensor]:
        """Blocks of at least one filter; filters with a NaN or Inf are omitted."""
        for block in torch.split(self._filters, self._size):
            finite = block if self.is_clean else block[block.isfinite().all(dim=1)]
            if finite.numel():
                yield finite

    def scratch(self, dtype: torch.dtype) -> torch.Tensor:
        """Flat memory for a block. It is reused, because new pages would cost more than the arithmetic."""
        return torch.empty(self._size * self._filters.shape[1], dtype=dtype, device=self.device)

    def _count(self) -> None:
        self.n_finite, self.peak = 0, 0.0
        for block in torch.split(self._filters, self._size):
            self.nan_count += int(block.isnan().sum())
            self.inf_count += int(block.isinf().sum())
        for block in self:
            self.n_finite += len(block)
            self.peak = max(self.peak, _peak(block))


def sweep(blocks: Blocks, *, with_statistics: bool) -> Sums:
    """Norms and sparse filters of any kernel; with statistics, moments and histogram of 3x3 filters as well."""
    limit = sparse_limit(blocks.peak)
    # One row per block, on the device: no synchronisation before the last block.
    tally = torch.zeros(len(blocks), 3, dtype=torch.float64, device=blocks.device)
    raw, scaled = _MomentSum(len(blocks), blocks.device), _MomentSum(len(blocks), blocks.device)
    floats, doubles, spare = (blocks.scratch(dtype) for dtype in (torch.float32, torch.float64, torch.float64))
    histogram = _Histogram(spare) if with_statistics else None
    for row, block in zip(tally, blocks, strict=False):
        single, double = floats[: block.numel()].view_as(block), doubles[: block.numel()].view_as(block)
        peaks = torch.abs(block, out=single).amax(dim=1, keepdim=True)
        flat = double.copy_(block).flatten()
        row[0] = torch.abs(flat, out=spare[: len(flat)]).sum()
        row[1] = flat @ flat
        row[2] = (peaks < limit).sum()
        if histogram:
            raw.add(double)
            # IEEE divisions: multiplication by the reciprocal differs in the last bit.
            torch.div(block, peaks.clamp_min_(_TINY), out=single)
            histogram.add(double.copy_(single))
            scaled.add(double)
    l1_norm, squares, sparse = tally.sum(dim=0).tolist()
    sums = l1_norm, math.sqrt(squares), int(sparse)
    return Sums(*sums, raw.total(), scaled.total(), histogram.counts()) if histogram else Sums(*sums)


def _peak(filters: torch.Tensor) -> float:
    """The largest absolute value; NaN or Inf if a number is."""
    if not filters.numel():
        return 0.0
    low, high = filters.aminmax()
    return float(torch.maximum(-low, high))


class _MomentSum:
    """Moments of each block about its own mean, kept on the device until they are merged."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        """Allocate for `capacity` blocks at once: small arrays among large ones would fragment the heap."""
        self._counts: list[int] = []
        self._means = torch.zeros(capacity, FILTER_SIZE, dtype=torch.float64, device=device)
        self._m2s = torch.zeros(capacity, FILTER_SIZE, FILTER_SIZE, dtype=torch.float64, device=device)

    def add(self, filters: torch.Tensor) -> None:
        """Add float64 (n, 9) filters. They are centred in place."""
        used = len(self._counts)
        self._counts.append(len(filters))
        filters.sub_(torch.mean(filters, dim=0, out=self._means[used]))
        torch.mm(filters.T, filters, out=self._m2s[used])

    def total(self) -> Moments:
        """The moments of all blocks together."""
        used = len(self._counts)
        means, m2s = self._means[:used].cpu().numpy(), self._m2s[:used].cpu().numpy()
        return merge_moments(np.array(self._counts, dtype=np.int64), means, m2s)


@functools.cache
def _binning(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The DCT in units of the snap, (9, 9), and the offsets that move each coefficient into its own bins, (9, 1).

    The bin of an integer q is floor((q + limit) * 35 / limit). Adding half of 1/limit, the finest step on that scale,
    moves no q over an edge, and prevents that rounding moves a q on an edge below it.
    """
    offsets = np.arange(FILTER_SIZE, dtype=np.float64)[:, None] * _COLUMNS
    offsets += DCT_BINS // 2 + 0.5 / (DCT_LIMIT * DCT_SNAP)
    return torch.from_numpy(dct_basis() * DCT_SNAP).to(device), torch.from_numpy(offsets).to(device)


class _Histogram:
    """Counts of the DCT coefficients, in the bins of `filterzoo.measures.dct.dct_bins`.

    float64 throughout: in float32 a coefficient of a structured filter can end up on the other side of a snapped edge.
    """

    def __init__(self, scratch: torch.Tensor) -> None:
        """scratch: float64 memory for the coefficients of a block; it can be reused after each `add`."""
        self._scratch = scratch
        self._bins = torch.empty_like(scratch, dtype=torch.int32)
        self._basis, self._offsets = _binning(scratch.device)
        self._counts = torch.zeros(FILTER_SIZE * _COLUMNS, dtype=torch.int64, device=scratch.device)

    def add(self, scaled: torch.Tensor) -> None:
        """Count the coefficients of float64 (n, 9) scaled filters."""
        coefficients = self._scratch[: scaled.numel()].view(FILTER_SIZE, -1)
        torch.mm(self._basis, scaled.T, out=coefficients).round_()
        torch.add(self._offsets, coefficients, alpha=_BINS_PER_UNIT, out=coefficients)
        bins = self._bins[: scaled.numel()].copy_(coefficients.flatten())
        self._counts += torch.bincount(bins, minlength=len(self._counts))

    def counts(self) -> npt.NDArray[np.int64]:
        """int64 (9, 70)."""
        counts: npt.NDArray[np.int64] = self._counts.cpu().numpy().reshape(FILTER_SIZE, _COLUMNS)
        counts[:, -2] += counts[:, -1]
        return counts[:, :-1]
