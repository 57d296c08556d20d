"""Loops over the filters of a layer, compiled by Numba on first call. Each block stays in the CPU cache.

NumPy and torch would need a dozen operations, each with a result in memory, and hold the GIL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

from filterzoo.layers.layer import Doubles, Floats
from filterzoo.measures.dct import DCT_BINS
from filterzoo.measures.statistics import FILTER_SIZE
from filterzoo_analysis.filters import compiled_loops
from filterzoo_analysis.tables.statistics import Ints

Bits: TypeAlias = npt.NDArray[np.int32]
"""The memory of float32 numbers, as integers."""

BLOCK: Final = 512
"""Filters processed at a time. They are columns, for SIMD instructions."""
_LAST: Final = DCT_BINS - 1

# Bits of IEEE 754: all but the sign; the exponent (all bits set: Inf or NaN). Then the smallest positive number.
_MAGNITUDE: Final = np.int32(0x7FFFFFFF)
_EXPONENT: Final = np.int32(0x7F800000)
_TINY: Final = np.finfo(np.float32).smallest_subnormal
_INFINITY: Final = np.float32(np.inf)
_HALF_WIDTH: Final = 16
# float16 has a mantissa of 13 bits less than float32; its smallest normal number; its largest number.
_HALF_STEP: Final = np.float32(2**13)
_HALF_NORMAL: Final = np.finfo(np.float16).smallest_normal.astype(np.float32)
_HALF_MAX: Final = np.finfo(np.float16).max.astype(np.float32)

Loop = TypeVar("Loop", bound=Callable[..., Any])


def _compiled(loop: Loop, **options: Any) -> Loop:
    """Compiled on first call, cached on disk if possible, and run without the GIL.

    The cache is in `__pycache__` next to this file, or in the user's cache folder.
    """
    return compiled_loops.compiled(loop, **options)


def _compiled_sum(loop: Loop) -> Loop:
    """Compiled with sums in any order, for SIMD. Only for finite numbers."""
    return _compiled(loop, fastmath={"reassoc", "contract", "nsz"})


@_compiled
def largest(filters: Floats) -> float:
    """The largest absolute number of the finite filters among (n, 9); 0 if there is none."""
    found = np.zeros(1, np.int32)
    bits = filters.view(np.int32)
    for row in range(len(filters)):
        peak = np.int32(0)
        for number in range(FILTER_SIZE):
            peak = max(peak, bits[row, number] & _MAGNITUDE)
        if peak < _EXPONENT:
            found[0] = max(found[0], peak)
    return float(found.view(np.float32)[0])


@_compiled
def moments(filters: Floats, width: int, limit: float, bar: float, far: Floats) -> tuple[int, Doubles, Doubles, int]:
    """Number, mean (9,) and m2 (9, 9) of the scaled finite filters among (n, 9) whose peak is above `limit`.

    width: bits of the floats to which filters are rounded before, 16 or 32. far: (n, 9), filled from its first row on
    with the scaled finite filters of any peak whose squared norm is above `bar`. Their number is the last result.
    """
    block, peaks = np.empty((FILTER_SIZE, BLOCK), np.float32), np.empty(BLOCK, np.float32)
    norms = np.empty(BLOCK, np.float32)
    centred, block_mean = np.empty((FILTER_SIZE, BLOCK)), np.empty(FILTER_SIZE)
    count, mean, m2, n_far = 0, np.zeros(FILTER_SIZE), np.zeros((FILTER_SIZE, FILTER_SIZE)), 0
    for first in range(0, len(filters), BLOCK):
        n = _scaled_block(filters, first, width, block, peaks)
        _square_norms(block, norms[:n])
        n_far = _copy_far(block, norms[:n], bar, far, n_far)
        if limit >= 0:
            n = _keep(block, peaks, n, limit)
        if n == 0:
            continue
        for row in range(FILTER_SIZE):
            block_mean[row] = _total(block[row], n) / n
            for place in range(n):
                centred[row, place] = block[row, place] - block_mean[row]
        # Chan, Golub & LeVeque 1979, as `Moments.merge`.
        block_mean -= mean
        both = count + n
        for row in range(FILTER_SIZE):
            for column in range(row, FILTER_SIZE):
                between = block_mean[row] * block_mean[column] * (count * n / both)
                m2[row, column] += _product(centred[row], centred[column], n) + between
                m2[column, row] = m2[row, column]
        mean += block_mean * (n / both)
        count = both
    return count, mean, m2, n_far


@_compiled
def add_histogram(  # noqa: PLR0917  # compiled loops take no keywords
    filters: Floats, width: int, limit: float, basis: Floats, shift: Floats, counts: Ints
) -> None:
    """Histograms of basis @ f + shift, truncated to 0..69, over the scaled finite filters f among (n, 9).

    width, limit: as in `moments`. basis: (9, 9). shift: (9,). counts: (9, 70), to which the counts are added.
    """
    block, peaks = np.empty((FILTER_SIZE, BLOCK), np.float32), np.empty(BLOCK, np.float32)
    position, bins = np.empty(BLOCK, np.float32), np.empty(BLOCK, np.int32)
    for first in range(0, len(filters), BLOCK):
        n = _scaled_block(filters, first, width, block, peaks)
        if limit >= 0:
            n = _keep(block, peaks, n, limit)
        for row in range(FILTER_SIZE):
            position[:n] = shift[row]
            # Three numbers at a time: the compiler does not vectorise a sum of nine over filters.
            for number in range(0, FILTER_SIZE, 3):
                a, b, c = basis[row, number], basis[row, number + 1], basis[row, number + 2]
                for place in range(n):
                    position[place] += (
                        a * block[number, place] + b * block[number + 1, place] + c * block[number + 2, place]
                    )
            for place in range(n):
                bins[place] = np.int32(min(max(position[place], 0), _LAST))
            for place in range(n):
                counts[row, bins[place]] += 1


@_compiled
def round_to_half(numbers: Floats, n: int) -> None:
    """Round the first n float32 numbers to float16, ties to even. Numbers beyond its largest become Inf or NaN."""
    bits = numbers.view(np.int32)
    power_bits = np.empty(n, np.int32)
    powers = power_bits.view(np.float32)
    for place in range(n):
        power_bits[place] = bits[place] & _EXPONENT
    for place in range(n):
        # The sum rounds away everything below a float16 step at this magnitude.
        coarse = max(powers[place], _HALF_NORMAL) * _HALF_STEP
        size = (abs(numbers[place]) + coarse) - coarse
        size = _INFINITY if size > _HALF_MAX else size
        numbers[place] = size if numbers[place] >= 0 else -size


@_compiled
def _scaled_block(filters: Floats, first: int, width: int, block: Floats, peaks: Floats) -> int:
    """Fill `block` (9, BLOCK) with the scaled finite filters from `first` on, and `peaks` with their divisors."""
    n = min(BLOCK, len(filters) - first)
    for place in range(n):
        for row in range(FILTER_SIZE):
            block[row, place] = filters[first + place, row]
    if width == _HALF_WIDTH:
        for row in range(FILTER_SIZE):
            round_to_half(block[row], n)
    if _find_peaks(block.view(np.int32), peaks[:n].view(np.int32)) >= _EXPONENT:
        n = _keep(block, peaks, n, -1.0)
    for row in range(FILTER_SIZE):
        for place in range(n):
            # One IEEE division per number: the product with the reciprocal differs in the last bit.
            block[row, place] /= max(peaks[place], _TINY)
    return n


@_compiled
def _find_peaks(block: Bits, peaks: Bits) -> np.int32:
    """Write each filter's largest absolute number into `peaks`; returns the largest of all.

    The bits of non-negative floats, read as integers, have the order of the floats, with NaN last.
    """
    top = np.int32(0)
    peaks[:] = 0
    for row in range(FILTER_SIZE):
        for place in range(len(peaks)):
            peaks[place] = max(peaks[place], block[row, place] & _MAGNITUDE)
    for place in range(len(peaks)):
        top = max(top, peaks[place])
    return top


@_compiled
def _keep(block: Floats, peaks: Floats, n: int, limit: float) -> int:
    """Move the filters whose peak is finite and above `limit` to the front; returns their number."""
    kept = 0
    for place in range(n):
        if limit < peaks[place] < _INFINITY:
            peaks[kept] = peaks[place]
            for row in range(FILTER_SIZE):
                block[row, kept] = block[row, place]
            kept += 1
    return kept


@_compiled
def _square_norms(block: Floats, norms: Floats) -> None:
    norms[:] = 0
    for row in range(FILTER_SIZE):
        for place in range(len(norms)):
            norms[place] += block[row, place] * block[row, place]


@_compiled
def _copy_far(block: Floats, norms: Floats, bar: float, far: Floats, n_far: int) -> int:
    """Append the filters whose squared norm is above `bar` to `far`, which holds n_far; returns the new number."""
    for place in range(len(norms)):
        if norms[place] > bar:
            for row in range(FILTER_SIZE):
                far[n_far, row] = block[row, place]
            n_far += 1
    return n_far


@_compiled_sum
def _total(numbers: Floats, n: int) -> float:
    total = 0.0
    for place in range(n):
        total += np.float64(numbers[place])
    return total


@_compiled_sum
def _product(first: Doubles, second: Doubles, n: int) -> float:
    total = 0.0
    for place in range(n):
        total += first[place] * second[place]
    return total
