"""What one layer's filters give to a variant: moments, bounds of the range, and histograms of projections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch

from filterzoo.layer import Floats
from filterzoo.measures.dct import DCT_BINS
from filterzoo.measures.entropy import PrincipalComponents
from filterzoo.measures.statistics import FILTER_SIZE, Moments, merge_moments

_BLOCK = 8192
"""Filters worked on at a time: a block and its copies stay in a core's cache."""
_KEPT = 50_000
"""Filters of largest norm that are kept to find the range; more of them prove more ranges, and cost every pass."""
_TINY = float(np.finfo(np.float32).smallest_subnormal)


class Precision(Enum):
    """What raw filters are rounded to before they are scaled."""

    SINGLE = auto()
    HALF = auto()


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread a worker: the workers are as many as the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Extremes:
    """Finds the smallest and largest coefficient before the basis is known, by keeping the filters of largest norm.

    A coefficient along a unit vector is at most the filter's norm; so when the kept filters reach further than the
    largest norm among the others, those cannot matter.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._size = kept
        self._lock = Lock()
        self._kept: list[Floats] = []
        self._count = 0
        self.bar = 0.0
        """Norm, squared, above which filters are kept."""

    def add(self, scaled: Floats) -> None:
        """Take filters whose squared norm passes `bar`; float32 (9, n)."""
        with self._lock:
            self._kept.append(scaled)
            self._count += scaled.shape[1]
            if self._count > 2 * self._size:
                self._thin()

    def bounds(self, components: PrincipalComponents) -> tuple[float, float]:
        """Smallest and largest coefficient of the kept filters."""
        low, high = np.inf, -np.inf
        for part in self._kept:
            projected = components.components @ (part.astype(np.float64) - components.mean[:, None])
            low, high = min(low, float(projected.min(initial=np.inf))), max(high, float(projected.max(initial=-np.inf)))
        return low, high

    def range(self, components: PrincipalComponents) -> tuple[float, float] | None:
        """The range of all coefficients; None where the filters that were not kept might pass it."""
        low, high = self.bounds(components)
        limit = np.sqrt(self.bar)
        shift = components.components @ components.mean
        is_sure = self.bar == 0 or (high >= limit - shift.min() and low <= -limit - shift.max())
        return (low, high) if is_sure else None

    def _thin(self) -> None:
        filters = np.concatenate(self._kept, axis=1)
        norms = np.square(filters).sum(axis=0)
        self.bar = float(np.partition(norms, -self._size)[-self._size])
        self._kept = [filters.compress(norms > self.bar, axis=1)]
        self._count = self._kept[0].shape[1]


def filter_moments(
    pieces: Iterable[Floats], precision: Precision, extremes: Extremes, *, without_sparse: bool
) -> Moments:
    """Moments of a layer's scaled finite filters; `without_sparse`: of those with a number above peak / 100."""
    limit = -1.0
    if without_sparse:
        pieces = list(pieces)
        limit = _sparse_limit(pieces)
    counts, means, m2s = [], [], []
    wanted = torch.empty(0, dtype=torch.float64)
    for block in _scaled_blocks(pieces, precision):
        _keep_extremes(block, extremes)
        # Products with 0 and 1 leave filters out at a third of what gathering the others costs.
        kept = None if float(block.peaks.min()) > limit else (block.peaks > limit).double()
        count = len(block.peaks) if kept is None else int(kept.sum())
        if count:
            wanted = _room_for(block, wanted).copy_(block.scaled)
            mean = (wanted.sum(dim=1) if kept is None else wanted @ kept) / count
            wanted -= mean.unsqueeze(1)
            if kept is not None:
                wanted *= kept
            counts.append(count)
            means.append(mean.numpy())
            m2s.append((wanted @ wanted.T).numpy())
    return merge_moments(counts, np.stack(means), np.stack(m2s)) if counts else Moments.empty()


def extent_of(pieces: Iterable[Floats], precision: Precision, components: PrincipalComponents) -> tuple[float, float]:
    """Smallest and largest coefficient of a layer's scaled finite filters, in float64; (inf, -inf) of none."""
    basis = torch.from_numpy(components.components)
    shift = torch.from_numpy(components.components @ components.mean)
    low, high = torch.inf, -torch.inf
    for block in _scaled_blocks(pieces, precision):
        found = torch.aminmax(basis @ block.scaled.double(), dim=1)
        low = min(low, float((found.min - shift).min()))
        high = max(high, float((found.max - shift).max()))
    return low, high


def histogram_of(
    pieces: Iterable[Floats], precision: Precision, components: PrincipalComponents, low: float, high: float
) -> npt.NDArray[np.int64]:
    """(9, 70): how many coefficients lie in each of 70 equal bins over [low, high], outliers in the outermost ones.

    In float32: a coefficient within 1e-6 of an edge may fall to either side.
    """
    scale = DCT_BINS / (high - low) if high > low else 0.0
    # bin = floor((basis @ (f - mean) - low) * scale), all constants folded into one product and one sum.
    basis = torch.from_numpy(components.components * scale).float()
    shift = torch.from_numpy((-components.components @ components.mean - low) * scale).float().unsqueeze(1)
    offsets = torch.arange(FILTER_SIZE, dtype=torch.int32).unsqueeze(1) * DCT_BINS
    counts = torch.zeros(FILTER_SIZE * DCT_BINS, dtype=torch.int64)
    bins = torch.empty(0, dtype=torch.int32)
    for block in _scaled_blocks(pieces, precision):
        position = torch.addmm(shift, basis, block.scaled, out=block.spare)
        bins = _room_for(block, bins).copy_(position).clamp_(0, DCT_BINS - 1).add_(offsets)
        counts += torch.bincount(bins.flatten(), minlength=len(counts))
    return counts.numpy().reshape(FILTER_SIZE, DCT_BINS)


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Finite filters of a layer, until the next block is asked for: it takes the same memory.

    scaled: float32 (9, n), n > 0. peaks: (n,), their largest absolute numbers before. spare: of scaled's shape, to be
    written over.
    """

    scaled: torch.Tensor
    peaks: torch.Tensor
    spare: torch.Tensor


class _Memory:
    """What n filters are worked on in. New memory for every block would cost as much as what is done to it."""

    def __init__(self, n: int, precision: Precision) -> None:
        self.n = n
        self.turned, self.spare = torch.empty(2, FILTER_SIZE, n)
        self.halves = torch.empty(FILTER_SIZE, n, dtype=torch.float16) if precision is Precision.HALF else None
        self.filters: Floats = self.turned.numpy().T


def _scaled_blocks(pieces: Iterable[Floats], precision: Precision) -> Iterator[_Block]:
    memory = _Memory(0, precision)
    for piece in pieces:
        for start in range(0, len(piece), _BLOCK):
            filters = piece[start : start + _BLOCK]
            if len(filters) != memory.n:
                memory = _Memory(len(filters), precision)
            turned, spare = memory.turned, memory.spare
            # NumPy turns them in less than half of torch's time, and reads Arrow's memory, which torch must not have.
            np.copyto(memory.filters, filters)
            if memory.halves is not None:
                turned.copy_(memory.halves.copy_(turned))
            peaks = torch.abs(turned, out=spare).amax(dim=0)
            if not float(peaks.max()) < torch.inf:
                finite = peaks < torch.inf
                turned, peaks = turned[:, finite], peaks[finite]
                spare = torch.empty_like(turned)
            if len(peaks):
                # One IEEE division per number: the product with the reciprocal differs in the last bit.
                yield _Block(turned.div_(peaks.clamp_min(_TINY)), peaks, spare)


def _room_for(block: _Block, room: torch.Tensor) -> torch.Tensor:
    """Of the block's shape and the type of `room`, which is given back where it has that shape."""
    return room if room.shape == block.scaled.shape else torch.empty_like(block.scaled, dtype=room.dtype)


def _keep_extremes(block: _Block, extremes: Extremes) -> None:
    if extremes.bar == 0:
        extremes.add(block.scaled.clone().numpy())
        return
    norms = torch.mul(block.scaled, block.scaled, out=block.spare).sum(dim=0)
    if float(norms.max()) > extremes.bar:
        extremes.add(block.scaled.numpy().take(np.flatnonzero(norms.numpy() > extremes.bar), axis=1))


def _sparse_limit(pieces: list[Floats]) -> float:
    """The largest float32 that is at most peak / 100: a filter whose peak is not above it is sparse (`<=`)."""
    ends = [(-piece.min(initial=0.0), piece.max(initial=0.0)) for piece in pieces]
    peak = float(np.max(ends, initial=0.0))
    if not np.isfinite(peak):
        peak = max((float(block.peaks.max()) for block in _scaled_blocks(pieces, Precision.SINGLE)), default=0.0)
    limit = np.float32(peak / 100)
    return float(limit if float(limit) <= peak / 100 else np.nextafter(limit, np.float32(0)))
