"""The loops of `loops` as functions of arrays; their machine code is loaded when the first one is called."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from filterzoo.measures.compiled.loop_arguments import BLOCK, COLUMNS, LANES, LOOPS, PAIRS, SIZE, VECTOR

if TYPE_CHECKING:
    from collections.abc import Callable

    from filterzoo.layers.layer import Doubles, Floats

Ints = npt.NDArray[np.int64]

_buffers = threading.local()
"""Buffers of `scratch`."""
_DTYPES: Final = {
    letters: np.dtype(name) for letters, name in (("*f", "f4"), ("*d", "f8"), ("*i", "i8"), ("*h", "i4"), ("*u", "u4"))
}


def largest_bits(bits: npt.NDArray[np.uint32]) -> np.uint32:
    """The largest magnitude of C-ordered float32 numbers, as their bits; for Inf and NaN at least 0x7F800000."""
    found = np.zeros(1, np.uint32)
    _call("largest_bits", bits, bits.size, found)
    result: np.uint32 = found[0]
    return result


@dataclass(frozen=True, slots=True)
class Totals:
    """Over all numbers w of finite filters: sums of |w|, w, w^2, w^3, w^4, and the number of sparse filters."""

    magnitudes: float
    sparse_count: int
    plain: float
    squares: float
    cubes: float
    fourths: float

    @classmethod
    def of(cls, sums: Doubles) -> Totals:
        """Create it from the six results of a loop."""
        return cls(float(sums[0]), int(sums[1]), *sums[2:].tolist())


def sums_of_3x3(filters: Floats, limit: float) -> tuple[Totals, Doubles, Doubles, Doubles, Doubles, Ints]:
    """The sums of one pass over finite C-ordered filters (n, 9); ValueError for filters of other sizes.

    Totals, sparse being those whose largest number is below `limit`; mean (9,) and upper triangle of m2 (45,) of the
    filters, and of the scaled filters; counts (9, COLUMNS) of the scaled filters' DCT coefficients.
    """
    if filters.shape[1:] != (SIZE,):
        raise ValueError(f"filters of shape {filters.shape}, wanted (n, {SIZE})")
    columns, peaks, bins = (
        np.empty((SIZE, BLOCK), np.float32),
        np.empty(BLOCK, np.float32),
        np.empty((SIZE, BLOCK), "i4"),
    )
    scratch = columns, peaks, *np.empty((2, SIZE, BLOCK)), bins, np.empty(LANES), *np.empty((2, SIZE))
    sums, counts = np.zeros(6), np.zeros((SIZE, COLUMNS), np.int64)
    raw, scaled = (np.zeros(SIZE), np.zeros(PAIRS)), (np.zeros(SIZE), np.zeros(PAIRS))
    _call("sums_of_3x3", filters, len(filters), limit, *scratch, sums, *raw, *scaled, counts)
    return Totals.of(sums), *raw, *scaled, counts


def sums_of_any(filters: Floats, limit: float) -> Totals:
    """The totals of finite C-ordered filters (n, k)."""
    sums = np.zeros(6)
    _call("sums_of_any", filters, *filters.shape, limit, *np.empty((2, BLOCK)), np.empty(LANES), sums)
    return Totals.of(sums)


def central_powers(filters: Floats, peak: float) -> tuple[float, float]:
    """Sums of the second and the fourth power of w / peak - mean, over the numbers w of finite C-ordered filters."""
    sums = np.zeros(2)
    _call("central_powers", filters, filters.size, peak, np.empty(BLOCK), np.empty(LANES), sums)
    return float(sums[0]), float(sums[1])


def cosines_of_small_groups(rows: Floats) -> tuple[float, int]:
    """(groups, m, k) finite, C order -> sum of abs(cosine) over ordered pairs of rows of a group, and their number.

    Rows of zeros are left out. Computed in float64, for groups of few rows.
    """
    sums = np.zeros(2)
    _call("cosines_of_small_groups", rows, *rows.shape, np.empty(rows.shape[1:]), sums)
    return float(sums[0]), int(sums[1])


def weighted_sum(products: Floats, left: Doubles, right: Doubles) -> float:
    """Sum over a, b of abs(products[a, b]) left[a] right[b], in float64."""
    if products.shape != (len(left), len(right)):
        raise ValueError(f"products of shape {products.shape} for {len(left)} and {len(right)} rows")
    found = np.zeros(1)
    _call("weighted_sum", products, left, len(left), right, len(right), np.empty(LANES), found)
    return float(found[0])


def nearest_fit(logs: Doubles, alphas: Doubles) -> int:
    """Index of the power law nearest to ascending logarithms (n,); alphas: (n - 1,), the fit from each on."""
    if len(alphas) != len(logs) - 1:
        raise ValueError(f"{len(alphas)} fits to {len(logs)} values")
    found = np.zeros(1, np.int64)
    _call("nearest_fit", logs, len(logs), alphas, found)
    return int(found[0])


def eigenvalues_of(matrix: Doubles) -> Doubles | None:
    """Ascending eigenvalues of symmetric float64 (n, n), of which only the upper triangle is read.

    None if they do not converge.
    """
    size, found = len(matrix), np.zeros(1, np.int64)
    if matrix.shape != (size, size):
        raise ValueError(f"a matrix of shape {matrix.shape} is not square")
    stride = -(-size // VECTOR) * VECTOR
    values, work = np.empty(size), scratch("eigenvalues", (size + 5) * stride)
    work.fill(0.0)
    _call("eigenvalues_of", matrix, size, stride, work, values, found)
    return np.sort(values) if found[0] else None


def scratch(name: str, count: int) -> Doubles:
    """`count` numbers of a buffer that this thread keeps under `name`, with what its last user left in them.

    Fresh memory for each layer would cost time, since the operating system clears its pages. The buffer begins where a
    line of the cache does: the loops over rows take half as long again elsewhere.
    """
    kept: Doubles | None = getattr(_buffers, name, None)
    if kept is None or len(kept) < count:
        raw = np.zeros(count + VECTOR)
        first = -(raw.ctypes.data // raw.itemsize) % VECTOR
        kept = raw[first : first + count]
        setattr(_buffers, name, kept)
    return kept[:count]


def _call(name: str, *arguments: npt.NDArray[Any] | float) -> None:
    """Call a loop; arrays are passed as addresses. ValueError for an array of another dtype or order."""
    plain: list[float] = []
    for argument, letters in zip(arguments, LOOPS[name].split(), strict=True):
        if isinstance(argument, np.ndarray):
            if argument.dtype != _DTYPES[letters] or not argument.flags.c_contiguous:
                raise ValueError(f"{name}: takes {_DTYPES[letters]} in C order, not {argument.dtype}")
            plain.append(argument.ctypes.data)
        else:
            plain.append(argument)
    _loaded()[name](*plain)


def prepare() -> None:
    """Load the loops, or compile them, now: before a process is forked, or for a machine in advance."""
    _loaded()


@cache
def _loaded() -> dict[str, Callable[..., None]]:
    from filterzoo.measures.compiled.machine_code import load  # noqa: PLC0415  # llvmlite is loaded when the first layer comes

    return load(LOOPS)


if __name__ == "__main__":
    prepare()
