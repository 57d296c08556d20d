"""Eigenvalues of small symmetric matrices, in the subset of Python that Numba compiles; for the rules see `loops`.

LAPACK is made for large matrices. Up to `spectral.LARGEST_IN_LOOPS` rows these loops are faster, and give equal bits on
every CPU of an architecture.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt

from filterzoo.measures.compiled.loop_arguments import VECTOR

Doubles = npt.NDArray[np.float64]

_carray: Any = numba.carray  # type: ignore[attr-defined]  # Numba does not say that it is public; its manual does
_CONVERGED: Final = 1e-18
"""Square of the off-diagonal element, relative to its two neighbours on the diagonal, that is set to zero: this changes
an eigenvalue by a relative 1e-9 if two coincide, otherwise by far less ...
"""
_NOTHING: Final = 1e-28
"""... or relative to the square of the largest diagonal element."""
_SWEEPS: Final = 30
"""Most iterations per row; two are usual."""
_TINY: Final = 1e-280
_TILE: Final = 16


@numba.njit(error_model="numpy")
def _reflection(row: Doubles, end: int, vector: Doubles) -> tuple[float, float]:
    """Householder vector (element `end` is 1) that maps row[: end + 1] to a multiple of (..., 0, 1).

    Result: its factor, and that multiple.
    """
    pivot, others = row[end], 0.0
    for k in range(end):
        others += row[k] * row[k]
    if others == 0.0:
        vector[: end + 1] = 0.0
        return 0.0, pivot
    length = np.sqrt(pivot * pivot + others)
    image = -length if pivot >= 0 else length
    scale = 1 / (pivot - image)
    for k in range(end):
        vector[k] = row[k] * scale
    vector[end] = 1.0
    return (image - pivot) / image, image


@numba.njit(error_model="numpy")
def _four_rows(  # noqa: PLR0917  # positional, as Numba inlines it
    matrix: Doubles, first: int, width: int, left: Doubles, right: Doubles, v: Doubles, y: Doubles
) -> None:
    """Apply the last reflection to rows `first` to `first` + 3, and add their share of matrix times v to y.

    Four rows at a time, because y, left and right are then read from memory once for all of them.
    """
    r0, r1, r2, r3 = matrix[first], matrix[first + 1], matrix[first + 2], matrix[first + 3]
    a0, a1, a2, a3 = left[first], left[first + 1], left[first + 2], left[first + 3]
    b0, b1, b2, b3 = right[first], right[first + 1], right[first + 2], right[first + 3]
    v0, v1, v2, v3 = v[first], v[first + 1], v[first + 2], v[first + 3]
    for k in range(width):
        a, b = left[k], right[k]
        c0 = r0[k] - (a0 * b + b0 * a)
        c1 = r1[k] - (a1 * b + b1 * a)
        c2 = r2[k] - (a2 * b + b2 * a)
        c3 = r3[k] - (a3 * b + b3 * a)
        r0[k], r1[k], r2[k], r3[k] = c0, c1, c2, c3
        y[k] += (c0 * v0 + c1 * v1) + (c2 * v2 + c3 * v3)


@numba.njit(error_model="numpy")
def _rows(  # noqa: PLR0917  # as above
    matrix: Doubles, count: int, left: Doubles, right: Doubles, v: Doubles, y: Doubles
) -> None:
    """Apply the last reflection to the leading (count, count) block, and multiply it by v: the result is y.

    Rows are used up to a whole vector of the CPU: beyond `count`, left and right are zero and y is not used.
    """
    width = (count + VECTOR - 1) // VECTOR * VECTOR
    for k in range(count, width):
        left[k] = right[k] = 0.0
    for k in range(width):
        y[k] = 0.0
    whole = count // 4 * 4
    for first in range(0, whole, 4):
        _four_rows(matrix, first, width, left, right, v, y)
    for i in range(whole, count):
        row = matrix[i]
        for k in range(width):
            changed = row[k] - (left[i] * right[k] + right[i] * left[k])
            row[k] = changed
            y[k] += changed * v[i]


@numba.njit(error_model="numpy")
def _tridiagonal(matrix: Doubles, diagonal: Doubles, squares: Doubles, scratch: Doubles) -> None:
    """Reduce symmetric (n, n), in place, to (n,) diagonal and (n - 1,) squares of the off-diagonal elements.

    By Householder reflections, as in Golub & Van Loan, Matrix Computations, 8.3.1, from the last row up, so that all
    rows begin where the memory is aligned. Each pass over the rest of the matrix applies the last reflection and
    multiplies by the next vector at once. matrix: (n, stride), stride a multiple of VECTOR.
    """
    left, right, v, y = scratch[0], scratch[1], scratch[2], scratch[3]
    left[:] = 0.0
    right[:] = 0.0
    for last in range(len(diagonal) - 1, 0, -1):
        row = matrix[last]
        a, b = left[last], right[last]
        for k in range(last + 1):
            row[k] -= a * right[k] + b * left[k]
        diagonal[last] = row[last]
        factor, image = _reflection(row, last - 1, v)
        squares[last - 1] = image * image
        _rows(matrix, last, left, right, v, y)
        along = 0.0
        for k in range(last):
            along += y[k] * v[k]
        along *= 0.5 * factor * factor
        for k in range(last):
            left[k] = v[k]
            right[k] = factor * y[k] - along * v[k]
    diagonal[0] = matrix[0, 0] - 2 * left[0] * right[0]


@numba.njit(error_model="numpy")
def _shift(first: float, second: float, square: float) -> float:
    """Wilkinson's shift: the eigenvalue of the last 2 x 2 block that is nearer to the last element."""
    beside = np.sqrt(square)
    half = (second - first) / (2 * beside)
    root = np.sqrt(half * half + 1.0)
    return float(first - beside / (half + (root if half >= 0 else -root)))


@numba.njit(error_model="numpy")
def _sweep(diagonal: Doubles, squares: Doubles, first: int, last: int) -> None:
    """One step of the QL method without square roots on rows first to last.

    Parlett, The Symmetric Eigenvalue Problem, 8.15. Like LAPACK's dsterf, except that the next pivot does not depend on
    two consecutive divisions.
    """
    shift = _shift(diagonal[first], diagonal[first + 1], squares[first])
    cosine, sine, corner = 1.0, 0.0, diagonal[last] - shift
    pivot = corner * corner
    for i in range(last - 1, first - 1, -1):
        beside, gap = squares[i], diagonal[i] - shift
        total = pivot + beside
        if i != last - 1:
            squares[i + 1] = sine * total
        numerator = pivot * gap - beside * corner
        divisor = total * pivot
        sine = beside / total
        found = numerator / total
        diagonal[i + 1] = corner + (diagonal[i] - found)
        if divisor > _TINY:
            pivot = numerator * numerator / divisor
        else:
            share = pivot / total
            pivot = found * found / share if share > 0.0 else cosine * beside
        cosine = 1.0 - sine
        corner = found
    squares[first] = sine * pivot
    diagonal[first] = shift + corner


@numba.njit(error_model="numpy")
def _diagonalise(diagonal: Doubles, squares: Doubles) -> bool:
    """Replace a tridiagonal matrix by its eigenvalues, in any order; False if they do not converge."""
    size = len(diagonal)
    nothing = 0.0
    for k in range(size):
        nothing = max(nothing, diagonal[k] * diagonal[k])
    nothing *= _NOTHING
    first, sweeps = 0, 0
    while first < size:
        last = first
        while last < size - 1:
            if squares[last] <= max(_CONVERGED * abs(diagonal[last] * diagonal[last + 1]), nothing):
                squares[last] = 0.0
                break
            last += 1
        if last == first:
            first += 1
            continue
        sweeps += 1
        if sweeps > _SWEEPS * size:
            return False
        _sweep(diagonal, squares, first, last)
    return True


@numba.njit(error_model="numpy")
def _copy(source: Doubles, target: Doubles) -> None:
    """Copy the upper triangle of (n, n), also as the lower one: by tiles, whose columns stay in the cache."""
    size = len(source)
    for top in range(0, size, _TILE):
        for left in range(0, top + 1, _TILE):
            for i in range(top, min(top + _TILE, size)):
                for k in range(left, min(left + _TILE, i)):
                    target[i, k] = source[k, i]
    for i in range(size):
        for k in range(i, size):
            target[i, k] = source[i, k]


def eigenvalues_of(  # noqa: PLR0917  # pointers and sizes, as of all loops
    source_at: Any, size: int, stride: int, work_at: Any, diagonal_at: Any, result: Any
) -> None:
    """Eigenvalues, in any order, of symmetric (size, size), whose upper triangle is read.

    work: (size + 5, stride) without a NaN or Inf, for a copy and for vectors; stride: size, rounded up to a multiple of
    VECTOR. result[0]: 1 if they converged. The largest element must be far from the limits of float64.
    """
    source, diagonal = _carray(source_at, (size, size)), _carray(diagonal_at, size)
    work = _carray(work_at, (size + 5, stride))
    _copy(source, work)
    scratch = work[size:]
    _tridiagonal(work[:size], diagonal, scratch[4], scratch)
    result[0] = int(_diagonalise(diagonal, scratch[4]))
