"""Loops over the filters of a layer, compiled by Numba when first called and kept on disk (docs/performance.md).

Filters are copied into a block as columns, so that one instruction works on several and the block stays in the cache.
Every sum is taken in one fixed order, eight lanes wide, without fused multiply-add or reordering: equal weights give
equal bits on every CPU of an architecture, for any number of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba import types

from filterzoo.layers.layer import Doubles, Floats
from filterzoo.measures.dct import DCT_BINS, DCT_LIMIT, DCT_SNAP

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint32]
Loop = TypeVar("Loop", bound=Callable[..., Any])

BLOCK: Final = 256
"""Filters, or numbers, worked on at a time."""
_LANES: Final = 32
SIZE: Final = 9
PAIRS: Final = 45
"""Numbers of a 3x3 filter, and pairs of them."""

_BINS_PER_UNIT: Final = (DCT_BINS // 2) / (DCT_LIMIT * DCT_SNAP)
# The bin of an integer q is floor((q + limit) * 35 / limit). Half of 1/limit, the finest step on that scale, takes no q
# over an edge, and keeps one that lies on an edge from falling below it by rounding.
_FIRST_BIN: Final = DCT_BINS // 2 + 0.5 / (DCT_LIMIT * DCT_SNAP)
COLUMNS: Final = DCT_BINS + 1
"""Bins that are counted: a coefficient of exactly +3 falls into the last, and belongs into the one before."""
_THIRD, _HALF, _SIXTH = (float(1 / np.sqrt(n)) for n in (3.0, 2.0, 6.0))

_MAGNITUDE: Final = np.uint32(0x7FFFFFFF)
_ZERO, _ONE = np.float32(0), np.float32(1)


def compiled(signature: Any) -> Callable[[Loop], Loop]:
    """Compiled for one signature when the module is loaded, which takes seconds once on a machine.

    The result is kept beside this file or in the user's cache, where one of them can be written.
    """

    def compile_loop(loop: Loop) -> Loop:
        try:
            made = numba.njit(signature, nogil=True, error_model="numpy", cache=True)(loop)
        except RuntimeError:  # Neither folder can be written.
            made = numba.njit(signature, nogil=True, error_model="numpy")(loop)
        return cast("Loop", made)

    return compile_loop


def _inlined(loop: Loop) -> Loop:
    return cast("Loop", numba.njit(error_model="numpy")(loop))


def _read_only(element: Any, axes: int) -> Any:
    """Arrays that are only read: such a loop also takes memory that cannot be written, a mapped file for instance."""
    return types.Array(element, axes, "C", readonly=True)


_tuple: Any = types.Tuple
_FLOATS = _read_only(types.float32, 2)
_DOUBLES, _VECTOR, _COUNTS = types.float64[:, ::1], types.float64[::1], types.int64[:, ::1]


@compiled(types.uint32(_read_only(types.uint32, 1)))
def largest_bits(bits: Bits) -> np.uint32:
    """The largest magnitude of float32 numbers, as their bits: those of Inf and NaN are at least 0x7F800000."""
    found = np.uint32(0)
    for place in range(bits.size):
        found = max(found, bits[place] & _MAGNITUDE)
    return found


@_inlined
def _folded(lanes: Doubles) -> float:
    for lane in range(16):
        lanes[lane] += lanes[lane + 16]
    for lane in range(8):
        lanes[lane] += lanes[lane + 8]
    left = (lanes[0] + lanes[4]) + (lanes[1] + lanes[5])
    return float(left + ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7])))


@_inlined
def _sum(values: Doubles, lanes: Doubles) -> float:
    for k in range(_LANES):
        low = (values[k] + values[k + 32]) + (values[k + 64] + values[k + 96])
        lanes[k] = low + ((values[k + 128] + values[k + 160]) + (values[k + 192] + values[k + 224]))
    return _folded(lanes)


@_inlined
def _sum_of_magnitudes(values: Doubles, lanes: Doubles) -> float:
    for k in range(_LANES):
        low = (abs(values[k]) + abs(values[k + 32])) + (abs(values[k + 64]) + abs(values[k + 96]))
        high = (abs(values[k + 128]) + abs(values[k + 160])) + (abs(values[k + 192]) + abs(values[k + 224]))
        lanes[k] = low + high
    return _folded(lanes)


@_inlined
def _product(a: Doubles, b: Doubles, lanes: Doubles) -> float:
    for k in range(_LANES):
        low = (a[k] * b[k] + a[k + 32] * b[k + 32]) + (a[k + 64] * b[k + 64] + a[k + 96] * b[k + 96])
        high = a[k + 128] * b[k + 128] + a[k + 160] * b[k + 160]
        lanes[k] = low + (high + (a[k + 192] * b[k + 192] + a[k + 224] * b[k + 224]))
    return _folded(lanes)


@_inlined
def _add_moments(  # noqa: PLR0917  # positional, as Numba inlines it
    block: Doubles, used: int, before: int, mean: Doubles, m2: Doubles, scratch: tuple[Doubles, Doubles, Doubles]
) -> None:
    """Moments of a block (9, BLOCK) about its own mean, merged into those of `before` filters (Chan et al. 1979).

    Columns from `used` on must be zero; the block is centred in place.
    """
    own, change, lanes = scratch
    for j in range(SIZE):
        own[j] = _sum(block[j], lanes) / used
        change[j] = own[j] - mean[j]
        for b in range(used):
            block[j, b] -= own[j]
    share = used / (before + used)
    pair = 0
    for j in range(SIZE):
        for k in range(j, SIZE):
            m2[pair] += _product(block[j], block[k], lanes) + change[j] * change[k] * (before * share)
            pair += 1
    for j in range(SIZE):
        mean[j] += change[j] * share


@_inlined
def _bin(coefficient: float) -> int:
    return int(np.int32(np.rint(coefficient * DCT_SNAP) * _BINS_PER_UNIT + _FIRST_BIN))


@_inlined
def _count_coefficients(scaled: Doubles, used: int, rows: Doubles, bins: npt.NDArray[np.int32], counts: Ints) -> None:
    """Count the coefficients of the DCT of scaled filters (9, BLOCK): along each row, then along each column."""
    for j in range(3):
        for b in range(BLOCK):
            x, y, z = scaled[3 * j, b], scaled[3 * j + 1, b], scaled[3 * j + 2, b]
            rows[3 * j, b] = (x + y + z) * _THIRD
            rows[3 * j + 1, b] = (x - z) * _HALF
            rows[3 * j + 2, b] = (x - 2 * y + z) * _SIXTH
    for j in range(3):
        for b in range(BLOCK):
            x, y, z = rows[j, b], rows[3 + j, b], rows[6 + j, b]
            bins[j, b] = _bin((x + y + z) * _THIRD)
            bins[3 + j, b] = _bin((x - z) * _HALF)
            bins[6 + j, b] = _bin((x - 2 * y + z) * _SIXTH)
    for j in range(SIZE):
        for b in range(used):
            counts[j, bins[j, b]] += 1


@_inlined
def _read_block(filters: Floats, first: int, used: int, columns: Floats, peaks: Floats) -> None:
    """Filters as columns, zeros behind the last, and the largest magnitude of each."""
    if used < BLOCK:
        columns[:] = _ZERO
    for b in range(used):
        for j in range(SIZE):
            columns[j, b] = filters[first + b, j]
    peaks[:] = _ZERO
    for j in range(SIZE):
        for b in range(BLOCK):
            own = abs(columns[j, b])
            peaks[b] = own if own > peaks[b] else peaks[b]  # noqa: FURB136  # max() is not vectorised


@_inlined
def _scale(columns: Floats, peaks: Floats, block: Doubles) -> None:
    """One IEEE division per number: the product with the reciprocal differs in the last bit. Zeros stay zeros."""
    for b in range(BLOCK):
        peaks[b] = peaks[b] if peaks[b] > _ZERO else _ONE
    for j in range(SIZE):
        for b in range(BLOCK):
            block[j, b] = np.float64(columns[j, b] / peaks[b])


_SUMS = _tuple((types.float64, types.float64, types.int64, _VECTOR, _VECTOR, _VECTOR, _VECTOR, _COUNTS))


@compiled(_SUMS(_FLOATS, types.float64))
def sums_of_3x3(filters: Floats, limit: float) -> tuple[float, float, int, Doubles, Doubles, Doubles, Doubles, Ints]:
    """What one pass over finite float32 filters (n, 9) adds up.

    Sum of magnitudes; sum of squares; filters whose largest number is below `limit`; mean (9,) and upper triangle of m2
    (45,) of the filters, and of the scaled filters; counts (9, COLUMNS) of the scaled filters' DCT coefficients.
    """
    columns, peaks = np.zeros((SIZE, BLOCK), np.float32), np.zeros(BLOCK, np.float32)
    block, rows, bins = np.zeros((SIZE, BLOCK)), np.zeros((SIZE, BLOCK)), np.zeros((SIZE, BLOCK), np.int32)
    lanes = np.zeros(_LANES)
    scratch = np.zeros(SIZE), np.zeros(SIZE), lanes
    mean, m2, scaled_mean, scaled_m2 = np.zeros(SIZE), np.zeros(PAIRS), np.zeros(SIZE), np.zeros(PAIRS)
    counts = np.zeros((SIZE, COLUMNS), np.int64)
    magnitudes, squares, sparse = 0.0, 0.0, 0
    for first in range(0, len(filters), BLOCK):
        used = min(BLOCK, len(filters) - first)
        _read_block(filters, first, used, columns, peaks)
        for b in range(used):
            sparse += int(peaks[b] < limit)
        for j in range(SIZE):
            for b in range(BLOCK):
                block[j, b] = np.float64(columns[j, b])
            magnitudes += _sum_of_magnitudes(block[j], lanes)
            squares += _product(block[j], block[j], lanes)
        _add_moments(block, used, first, mean, m2, scratch)
        _scale(columns, peaks, block)
        _count_coefficients(block, used, rows, bins, counts)
        _add_moments(block, used, first, scaled_mean, scaled_m2, scratch)
    return magnitudes, squares, sparse, mean, m2, scaled_mean, scaled_m2, counts


@compiled(_tuple((types.float64, types.float64, types.int64))(_FLOATS, types.float64))
def sums_of_any(filters: Floats, limit: float) -> tuple[float, float, int]:
    """Sum of magnitudes, sum of squares, and sparse filters, of finite float32 filters (n, k)."""
    numbers, sparse = filters.reshape(-1), 0
    for place in range(len(filters)):
        peak = _ZERO
        for j in range(filters.shape[1]):
            peak = max(peak, abs(filters[place, j]))
        sparse += int(peak < limit)
    block, lanes = np.zeros(BLOCK), np.zeros(_LANES)
    magnitudes, squares = 0.0, 0.0
    for first in range(0, len(numbers), BLOCK):
        used = min(BLOCK, len(numbers) - first)
        for b in range(used):
            block[b] = np.float64(numbers[first + b])
        block[used:] = 0.0
        magnitudes += _sum_of_magnitudes(block, lanes)
        squares += _product(block, block, lanes)
    return magnitudes, squares, sparse


@compiled(_tuple((types.float64, types.float64))(_FLOATS, types.float64))
def central_powers(filters: Floats, peak: float) -> tuple[float, float]:
    """Sums of the second and the fourth power of w / peak - mean, over the numbers w of finite float32 (n, k)."""
    numbers = filters.reshape(-1)
    block, lanes = np.zeros(BLOCK), np.zeros(_LANES)
    total, second, fourth = 0.0, 0.0, 0.0
    scale = 1 / peak
    for first in range(0, len(numbers), BLOCK):
        used = min(BLOCK, len(numbers) - first)
        for b in range(used):
            block[b] = np.float64(numbers[first + b]) * scale
        block[used:] = 0.0
        total += _sum(block, lanes)
    mean = total / max(1, len(numbers))
    for first in range(0, len(numbers), BLOCK):
        used = min(BLOCK, len(numbers) - first)
        for b in range(used):
            gap = np.float64(numbers[first + b]) * scale - mean
            block[b] = gap * gap
        block[used:] = 0.0
        second += _sum(block, lanes)
        fourth += _product(block, block, lanes)
    return second, fourth


@compiled(_tuple((types.float64, types.int64))(_read_only(types.float32, 3)))
def cosines_of_small_groups(rows: Floats) -> tuple[float, int]:
    """(groups, m, k) finite -> sum of abs(cosine) over ordered pairs of different rows of a group, and their number.

    Rows of zeros are left out. In float64, for groups of few rows.
    """
    groups, count, numbers = rows.shape
    unit = np.zeros((count, numbers))
    total, pairs = 0.0, 0
    for group in range(groups):
        alive = 0
        for a in range(count):
            peak, squares = 0.0, 0.0
            for k in range(numbers):
                peak = max(peak, abs(np.float64(rows[group, a, k])))
            alive += int(peak > 0)
            divisor = peak if peak > 0 else 1.0
            for k in range(numbers):
                unit[a, k] = np.float64(rows[group, a, k]) / divisor
                squares += unit[a, k] * unit[a, k]
            length = np.sqrt(squares) if squares > 0 else 1.0
            for k in range(numbers):
                unit[a, k] /= length
            for b in range(a):
                cosine = 0.0
                for k in range(numbers):
                    cosine += unit[a, k] * unit[b, k]
                total += 2 * abs(cosine)
        pairs += alive * (alive - 1)
    return total, pairs


@compiled(types.float64(_FLOATS, _read_only(types.float64, 1), _read_only(types.float64, 1)))
def weighted_sum(products: Floats, left: Doubles, right: Doubles) -> float:
    """Sum over a, b of abs(products[a, b]) left[a] right[b], in float64."""
    lanes, total = np.zeros(_LANES), 0.0
    wide = len(right) // _LANES * _LANES
    for a in range(len(left)):
        lanes[:] = 0.0
        for b in range(0, wide, _LANES):
            for k in range(_LANES):
                lanes[k] += abs(np.float64(products[a, b + k])) * right[b + k]
        own = _folded(lanes)
        for b in range(wide, len(right)):
            own += abs(np.float64(products[a, b])) * right[b]
        total += own * left[a]
    return total
