"""Eigenvalues of small symmetric matrices, in the subset of Python that Numba compiles; for the rules see `loops`.

LAPACK is made for large matrices. Up to `spectral.LARGEST_IN_LOOPS` rows these loops are faster, and give equal bits on
every CPU of an architecture.
"""

from __future__ import annotations

from typing import Any, Final

import numba
import numpy as np
import numpy.typing as npt

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


@numba.njit(error_model="numpy")
def _reflection(row: Doubles, vector: Doubles) -> tuple[float, float]:
    """Householder vector (first element 1) that maps a row to a multiple of (1, 0, ...): (factor, that multiple)."""
    rest = 0.0
    for k in range(1, len(row)):
        rest += row[k] * row[k]
    if rest == 0.0:
        vector[:] = 0.0
        return 0.0, row[0]
    length = np.sqrt(row[0] * row[0] + rest)
    image = -length if row[0] >= 0 else length
    scale = 1 / (row[0] - image)
    for k in range(len(row)):
        vector[k] = row[k] * scale
    vector[0] = 1.0
    return (image - row[0]) / image, image


@numba.njit(error_model="numpy")
def _tridiagonal(matrix: Doubles, diagonal: Doubles, squares: Doubles, scratch: Doubles) -> None:
    """Reduce symmetric (n, n), in place, to (n,) diagonal and (n - 1,) squares of the off-diagonal elements.

    By Householder reflections, as in Golub & Van Loan, Matrix Computations, 8.3.1. Each pass over the rest of the
    matrix applies the last reflection and multiplies by the next vector at once.
    """
    size = len(diagonal)
    left, right, vector, product = scratch[0], scratch[1], scratch[2], scratch[3]
    left[:] = 0.0
    right[:] = 0.0
    for step in range(size - 1):
        row = matrix[step, step:]
        for k in range(len(row)):
            row[k] -= left[0] * right[k] + right[0] * left[k]
        diagonal[step] = row[0]
        rest = len(row) - 1
        v, y = vector[:rest], product[:rest]
        factor, image = _reflection(row[1:], v)
        squares[step] = image * image
        y[:] = 0.0
        a, b = left[1 : rest + 1], right[1 : rest + 1]
        for i in range(rest):
            below = matrix[step + 1 + i, step + 1 :]
            a_i, b_i, v_i = a[i], b[i], v[i]
            for k in range(rest):
                changed = below[k] - (a_i * b[k] + b_i * a[k])
                below[k] = changed
                y[k] += changed * v_i
        along = 0.0
        for k in range(rest):
            along += y[k] * v[k]
        along *= 0.5 * factor * factor
        for k in range(rest):
            left[k] = v[k]
            right[k] = factor * y[k] - along * v[k]
    diagonal[size - 1] = matrix[size - 1, size - 1] - 2 * left[0] * right[0]


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


def eigenvalues_of(matrix_at: Any, size: int, diagonal_at: Any, scratch_at: Any, result: Any) -> None:
    """Eigenvalues, in any order, of symmetric (size, size); its upper triangle is read and destroyed.

    scratch: (5, size). result[0]: 1 if they converged. The largest element must be far from the limits of float64.
    """
    matrix, diagonal = _carray(matrix_at, (size, size)), _carray(diagonal_at, size)
    scratch = _carray(scratch_at, (5, size))
    for i in range(size):
        for k in range(i):
            matrix[i, k] = matrix[k, i]
    _tridiagonal(matrix, diagonal, scratch[4], scratch)
    result[0] = int(_diagonalise(diagonal, scratch[4]))
