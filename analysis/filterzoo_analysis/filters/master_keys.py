"""Master keys: depthwise filters approximated by a x + b for a few filters x (arXiv:2412.16751, 2509.11711)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from filterzoo.errors import StartError
from filterzoo.files import text_of
from filterzoo.layers.layer import Doubles, Floats
from filterzoo_analysis.tables.statistics import Ints

IDEAL = "ideal"
"""The name of the eight idealised filters."""
IDEAL_SIDE = 7
_SCALES = (
    (0.644, 0.583),
    (0.586, 0.644),
    (0.690, 0.674),
    (0.756, 0.460),
    (1.107, 0.945),
    (0.900, 0.889),
    (0.675, 0.675),
    (0.609, 0.601),
)
"""Standard deviations along x and y of the eight models in arXiv:2509.12746, by its method B."""
_SHARPENING = 0.526
"""Weight of the Laplacian in the seventh model."""
_ANGLES = 64
_LARGEST_FILE = 1 << 20
_DRAWS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """The fit of a layer's filters: their number, and sums over them. Constant filters are left out.

    shares: explained shares of variance. explained, variance: explained and total sums of squares. best: (keys,), the
    number of filters that each key fits best.
    """

    filters: int
    shares: float
    explained: float
    variance: float
    best: Ints


def keys_of(given: str) -> Doubles:
    """(m, side, side): the idealised filters for `ideal`, else the filters in the file of that path; StartError."""
    return ideal_keys(IDEAL_SIDE) if given == IDEAL else read_keys(Path(given))


def ideal_keys(side: int) -> Doubles:
    """(8, side, side): the idealised models of the eight master key filters (Lindeberg, Babaiee & Kiasari 2025).

    With T the discrete Gaussian kernel: one-sided differences of T down, right, up and left of the centre (1 to 4),
    central differences along x and y (5, 6), the unit impulse less the Laplacian of T (7), T itself (8). Up to a x + b.
    """
    found = []
    for number, (across, down) in enumerate(_SCALES):
        t = np.outer(_gaussian(down, side + 2), _gaussian(across, side + 2))
        here = t[1:-1, 1:-1]
        north, south, west, east = t[:-2, 1:-1], t[2:, 1:-1], t[1:-1, :-2], t[1:-1, 2:]
        laplacian = north + south + west + east - 4 * here
        impulse = np.zeros((side, side))
        impulse[side // 2, side // 2] = 1.0
        made = (
            north - here,
            west - here,
            south - here,
            east - here,
            (east - west) / 2,
            (south - north) / 2,
            impulse - _SHARPENING * laplacian,
            here,
        )
        found.append(made[number])
    return np.stack(found)


def read_keys(path: Path) -> Doubles:
    """(m, side, side): filters from a text file. A line is a row of a filter; blank or named lines separate filters.

    This is the format of `8Filters.txt` in the repository of arXiv:2509.12746. StartError for an invalid file.
    """
    text = text_of(path, f"`{IDEAL}` or a text file of filters (--master-keys)", _LARGEST_FILE)
    filters: list[list[list[float]]] = [[]]
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0][0].isalpha():
            filters.append([])
            continue
        try:
            filters[-1].append([float(word) for word in words])
        except ValueError:
            raise StartError(f"{path}: line {number} is no row of numbers") from None
    filters = [rows for rows in filters if rows]
    sizes = {(len(rows), len(row)) for rows in filters for row in rows}
    if len(sizes) != 1 or any(rows != columns or rows % 2 == 0 for rows, columns in sizes):
        summary = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(sizes)[:5]) or "none"
        raise StartError(f"{path}: has to hold filters of one odd square size, apart by blank lines; has {summary}")
    found = np.array(filters, np.float64)
    if not np.isfinite(found).all() or (np.ptp(found.reshape(len(found), -1), axis=1) == 0).any():
        raise StartError(f"{path}: a filter has a number that is not finite, or is constant")
    return found


def cropped(keys: Doubles, side: int) -> Doubles:
    """(m, side * side): the middles of the keys, centred and scaled to norm 1. Constant keys become zeros."""
    edge = (keys.shape[1] - side) // 2
    middle = keys[:, edge : edge + side, edge : edge + side].reshape(len(keys), -1)
    centred = middle - middle.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    found: Doubles = np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-12)
    return found


def fit(pieces: Iterable[Floats], keys: Doubles) -> Fit:
    """Fit each finite, non-constant filter by its best key: the key x with the largest squared correlation.

    pieces: (n, k) filters. keys: (m, k), from `cropped`. The explained share of a filter's variance is this squared
    correlation.
    """
    count, shares, explained, variance, best = 0, 0.0, 0.0, 0.0, np.zeros(len(keys), np.int64)
    for piece in pieces:
        filters = piece[np.isfinite(piece).all(axis=1)].astype(np.float64)
        centred = filters - filters.mean(axis=1, keepdims=True)
        total = np.square(centred).sum(axis=1)
        varies = total > 1e-12 * np.square(filters).sum(axis=1)
        squared = np.square(centred[varies] @ keys.T)
        largest, own = squared.max(axis=1, initial=0.0), total[varies]
        count += len(own)
        shares += float((largest / own).sum())
        explained, variance = explained + float(largest.sum()), variance + float(own.sum())
        best += np.bincount(squared.argmax(axis=1), minlength=len(keys)) if len(own) else 0
    return Fit(count, shares, explained, variance, best)


def chance(keys: Doubles) -> float:
    """The mean share of variance that the best key explains in filters of independent normal numbers (20,000 draws)."""
    drawn = np.random.default_rng(0).normal(size=(_DRAWS, keys.shape[1])).astype(np.float32)
    found = fit([drawn], keys)
    return found.shares / found.filters


def _gaussian(spread: float, size: int) -> Doubles:
    """(size,): the discrete Gaussian exp(-s) I_n(s) around the middle, s = spread^2, by Bessel's integral."""
    angle = 2 * np.pi * np.arange(_ANGLES) / _ANGLES
    place = np.arange(size) - size // 2
    found: Doubles = (np.exp(spread**2 * (np.cos(angle) - 1)) * np.cos(place[:, None] * angle)).mean(axis=1)
    return found
