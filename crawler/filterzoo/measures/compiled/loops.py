"""Loops over the filters of a layer, in the subset of Python that Numba compiles; `kernels` calls the machine code.

This module is imported only to compile them, once on a machine. A loop takes pointers and sizes, allocates nothing and
raises nothing, so that its machine code needs no runtime. Filters are copied into a block as columns, so that one
instruction works on several and the block stays in the cache. Every sum is taken in one fixed order, eight lanes wide,
without fused multiply-add or reordering: equal weights give equal bits on every CPU of an architecture, for any number
of workers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from numba import types

from filterzoo.layers.layer import Doubles, Floats
from filterzoo.measures.compiled.eigenvalue_loops import eigenvalues_of
from filterzoo.measures.compiled.loop_arguments import BLOCK, COLUMNS, LANES, LOOPS, PAIRS, SIZE
from filterzoo.measures.dct import DCT_BINS, DCT_LIMIT, DCT_SNAP

Ints = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint32]
Loop = TypeVar("Loop", bound=Callable[..., Any])

_BINS_PER_UNIT: Final = (DCT_BINS // 2) / (DCT_LIMIT * DCT_SNAP)
# The bin of an integer q is floor((q + limit) * 35 / limit). Adding half of 1/limit, the finest step on that scale,
# moves no q over an edge, and prevents that rounding moves a q on an edge below it.
_FIRST_BIN: Final = DCT_BINS // 2 + 0.5 / (DCT_LIMIT * DCT_SNAP)
_THIRD, _HALF, _SIXTH = (float(1 / np.sqrt(n)) for n in (3.0, 2.0, 6.0))

_carray: Any = numba.carray  # type: ignore[attr-defined]  # public by Numba's manual, but not in its types
_MAGNITUDE: Final = np.uint32(0x7FFFFFFF)
_ZERO, _ONE = np.float32(0), np.float32(1)


def _inlined(loop: Loop) -> Loop:
    return cast("Loop", numba.njit(error_model="numpy")(loop))


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
    for k in range(LANES):
        low = (values[k] + values[k + 32]) + (values[k + 64] + values[k + 96])
        lanes[k] = low + ((values[k + 128] + values[k + 160]) + (values[k + 192] + values[k + 224]))
    return _folded(lanes)


@_inlined
def _sum_of_magnitudes(values: Doubles, lanes: Doubles) -> float:
    for k in range(LANES):
        low = (abs(values[k]) + abs(values[k + 32])) + (abs(values[k + 64]) + abs(values[k + 96]))
        high = (abs(values[k + 128]) + abs(values[k + 160])) + (abs(values[k + 192]) + abs(values[k + 224]))
        lanes[k] = low + high
    return _folded(lanes)


@_inlined
def _product(a: Doubles, b: Doubles, lanes: Doubles) -> float:
    for k in range(LANES):
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
    """Copy filters as columns, with zeros after the last, and take the largest magnitude of each."""
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
    """Divide each filter by its peak, with IEEE divisions: a reciprocal differs in the last bit. Zeros stay zeros."""
    for b in range(BLOCK):
        peaks[b] = peaks[b] if peaks[b] > _ZERO else _ONE
    for j in range(SIZE):
        for b in range(BLOCK):
            block[j, b] = np.float64(columns[j, b] / peaks[b])


def largest_bits(bits: Any, count: int, result: Any) -> None:
    """result[0] = the largest magnitude of `count` float32 numbers, passed and returned as bits.

    The bits of Inf and NaN are at least 0x7F800000.
    """
    numbers = _carray(bits, count)
    found = np.uint32(0)
    for place in range(count):
        found = max(found, numbers[place] & _MAGNITUDE)
    result[0] = found


def sums_of_3x3(  # noqa: PLR0917  # pointers carry no sizes
    pointer: Any,
    count: int,
    limit: float,
    columns_at: Any,
    peaks_at: Any,
    block_at: Any,
    rows_at: Any,
    bins_at: Any,
    lanes_at: Any,
    own_at: Any,
    change_at: Any,
    result: Any,
    means: Any,
    squares_of: Any,
    scaled_means: Any,
    scaled_squares: Any,
    histogram: Any,
) -> None:
    """The sums of one pass over `count` finite float32 filters of nine numbers; outputs must be zeros before.

    result: sum of magnitudes, filters whose largest number is below `limit`, and the sums of the first four powers of
    the numbers. Then mean (9,) and upper triangle of m2 (45,) of the filters, the same of the scaled filters, and
    counts, int64 (9, COLUMNS), of the scaled filters' DCT coefficients. Names that end in `_at` are scratch memory.
    """
    filters, counts = _carray(pointer, (count, SIZE)), _carray(histogram, (SIZE, COLUMNS))
    columns, peaks = _carray(columns_at, (SIZE, BLOCK)), _carray(peaks_at, BLOCK)
    block, rows = _carray(block_at, (SIZE, BLOCK)), _carray(rows_at, (SIZE, BLOCK))
    bins, lanes = _carray(bins_at, (SIZE, BLOCK)), _carray(lanes_at, LANES)
    scratch = _carray(own_at, SIZE), _carray(change_at, SIZE), lanes
    mean, m2 = _carray(means, SIZE), _carray(squares_of, PAIRS)
    scaled_mean, scaled_m2 = _carray(scaled_means, SIZE), _carray(scaled_squares, PAIRS)
    magnitudes, sparse, total, squares, cubes, fourths = 0.0, 0, 0.0, 0.0, 0.0, 0.0
    for first in range(0, count, BLOCK):
        used = min(BLOCK, count - first)
        _read_block(filters, first, used, columns, peaks)
        for b in range(used):
            sparse += int(peaks[b] < limit)
        for j in range(SIZE):
            for b in range(BLOCK):
                block[j, b] = np.float64(columns[j, b])
                rows[j, b] = block[j, b] * block[j, b]
            magnitudes += _sum_of_magnitudes(block[j], lanes)
            total += _sum(block[j], lanes)
            squares += _sum(rows[j], lanes)
            cubes += _product(rows[j], block[j], lanes)
            fourths += _product(rows[j], rows[j], lanes)
        _add_moments(block, used, first, mean, m2, scratch)
        _scale(columns, peaks, block)
        _count_coefficients(block, used, rows, bins, counts)
        _add_moments(block, used, first, scaled_mean, scaled_m2, scratch)
    result[0], result[1], result[2] = magnitudes, sparse, total
    result[3], result[4], result[5] = squares, cubes, fourths


def sums_of_any(  # noqa: PLR0917  # as above
    pointer: Any, count: int, size: int, limit: float, block_at: Any, powers_at: Any, lanes_at: Any, result: Any
) -> None:
    """The same six sums for finite float32 filters (count, size)."""
    total, sparse = count * size, 0
    numbers = _carray(pointer, total)
    for place in range(count):
        peak = _ZERO
        for j in range(size):
            peak = max(peak, abs(numbers[place * size + j]))
        sparse += int(peak < limit)
    block, powers, lanes = _carray(block_at, BLOCK), _carray(powers_at, BLOCK), _carray(lanes_at, LANES)
    magnitudes, plain, squares, cubes, fourths = 0.0, 0.0, 0.0, 0.0, 0.0
    for first in range(0, total, BLOCK):
        used = min(BLOCK, total - first)
        for b in range(used):
            block[b] = np.float64(numbers[first + b])
        for b in range(used, BLOCK):
            block[b] = 0.0
        for b in range(BLOCK):
            powers[b] = block[b] * block[b]
        magnitudes += _sum_of_magnitudes(block, lanes)
        plain += _sum(block, lanes)
        squares += _sum(powers, lanes)
        cubes += _product(powers, block, lanes)
        fourths += _product(powers, powers, lanes)
    result[0], result[1], result[2] = magnitudes, sparse, plain
    result[3], result[4], result[5] = squares, cubes, fourths


def central_powers(  # noqa: PLR0917  # as above
    pointer: Any, count: int, peak: float, block_at: Any, lanes_at: Any, result: Any
) -> None:
    """Sums of the second and the fourth power of w / peak - mean, over `count` finite float32 numbers w."""
    numbers = _carray(pointer, count)
    block, lanes = _carray(block_at, BLOCK), _carray(lanes_at, LANES)
    total, second, fourth = 0.0, 0.0, 0.0
    scale = 1 / peak
    for first in range(0, count, BLOCK):
        used = min(BLOCK, count - first)
        for b in range(used):
            block[b] = np.float64(numbers[first + b]) * scale
        for b in range(used, BLOCK):
            block[b] = 0.0
        total += _sum(block, lanes)
    mean = total / max(1, count)
    for first in range(0, count, BLOCK):
        used = min(BLOCK, count - first)
        for b in range(used):
            gap = np.float64(numbers[first + b]) * scale - mean
            block[b] = gap * gap
        for b in range(used, BLOCK):
            block[b] = 0.0
        second += _sum(block, lanes)
        fourth += _product(block, block, lanes)
    result[0], result[1] = second, fourth


def cosines_of_small_groups(  # noqa: PLR0917  # as above
    pointer: Any, groups: int, count: int, size: int, unit_at: Any, result: Any
) -> None:
    """(groups, count, size) finite -> sum of abs(cosine) over ordered pairs of rows of a group, and their number.

    Rows of zeros are left out. In float64, for groups of few rows.
    """
    rows, unit = _carray(pointer, (groups, count, size)), _carray(unit_at, (count, size))
    total, pairs = 0.0, 0
    for group in range(groups):
        alive = 0
        for a in range(count):
            peak, squares = 0.0, 0.0
            for k in range(size):
                peak = max(peak, abs(np.float64(rows[group, a, k])))
            alive += int(peak > 0)
            divisor = peak if peak > 0 else 1.0
            for k in range(size):
                unit[a, k] = np.float64(rows[group, a, k]) / divisor
                squares += unit[a, k] * unit[a, k]
            length = np.sqrt(squares) if squares > 0 else 1.0
            for k in range(size):
                unit[a, k] /= length
            for b in range(a):
                cosine = 0.0
                for k in range(size):
                    cosine += unit[a, k] * unit[b, k]
                total += 2 * abs(cosine)
        pairs += alive * (alive - 1)
    result[0], result[1] = total, pairs


def weighted_sum(  # noqa: PLR0917  # as above
    pointer: Any, left: Any, rows: int, right: Any, columns: int, lanes_at: Any, result: Any
) -> None:
    """Sum over a, b of abs(products[a, b]) left[a] right[b], in float64, of float32 products (rows, columns)."""
    products, lanes = _carray(pointer, (rows, columns)), _carray(lanes_at, LANES)
    weights, total = _carray(right, columns), 0.0
    wide = columns // LANES * LANES
    for a in range(rows):
        for k in range(LANES):
            lanes[k] = 0.0
        for b in range(0, wide, LANES):
            for k in range(LANES):
                lanes[k] += abs(np.float64(products[a, b + k])) * weights[b + k]
        own = _folded(lanes)
        for b in range(wide, columns):
            own += abs(np.float64(products[a, b])) * weights[b]
        total += own * left[a]
    result[0] = total


def nearest_fit(logs: Any, count: int, alphas: Any, result: Any) -> None:
    """result[0] = index of the lower end whose fit has the smallest Kolmogorov-Smirnov distance; the first of equals.

    logs: `count` ascending logarithms; alphas: count - 1 exponents. A fit is abandoned as soon as its distance exceeds
    the best one.
    """
    best, found = np.inf, 0
    for first in range(count - 1):
        largest, slope = 0.0, 1 - alphas[first]
        if not np.isfinite(slope):
            continue
        for place in range(first, count):
            fitted = 1 - np.exp(slope * (logs[place] - logs[first]))
            largest = max(largest, abs(fitted - (place - first) / (count - first)))
            if largest >= best:
                break
        if largest < best:
            best, found = largest, first
    result[0] = found


_ELSEWHERE: Final = {"eigenvalues_of": eigenvalues_of}
_pointer: Any = types.CPointer
_TYPES: Final = {
    "i": types.int64,
    "d": types.float64,
    "*f": _pointer(types.float32),
    "*d": _pointer(types.float64),
    "*i": _pointer(types.int64),
    "*h": _pointer(types.int32),
    "*u": _pointer(types.uint32),
}
"""The types for the letters of `LOOPS`."""


def compiled() -> dict[str, tuple[str, bytes]]:
    """Each loop's machine code for this CPU: the name of its entry point, and an object file."""
    found = {}
    for name, arguments in LOOPS.items():
        signature = tuple(_TYPES[letter] for letter in arguments.split())
        options: Any = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        loop = _ELSEWHERE.get(name) or globals()[name]
        result = numba.njit(types.none(*signature), **options)(loop).overloads[signature]
        code = result.library
        found[name] = result.fndesc.llvm_func_name, code.codegen._tm.emit_object(code._final_module)  # noqa: SLF001  # Numba has no public way
    return found
