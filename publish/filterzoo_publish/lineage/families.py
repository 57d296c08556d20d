"""Which layers of two families can be compared: those of equal shapes at matching places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from filterzoo_publish.lineage.nearest import FEWEST_LAYERS, Family, Ints

FEWEST_SHARE = 0.5
"""Least share of the layers of the network that has fewer which have equal shapes at matching places."""


def compared(families: list[Family]) -> Iterator[tuple[Family, int]]:
    """Each family; then each two with enough layers of equal shapes at matching places, as one family of these layers.

    The number: how many of its networks, the first ones, are of one of the two. Only pairs across are new. 0 for one.
    """
    yield from ((family, 0) for family in families)
    numbers = {shape: n for n, shape in enumerate(dict.fromkeys(shape for each in families for shape in each.shapes))}
    codes = [np.array([numbers[shape] for shape in each.shapes], np.int64) for each in families]
    counts = np.zeros((len(families), len(numbers)), np.int32)
    for family, code in enumerate(codes):
        for shape, count in Counter(code.tolist()).items():
            counts[family, shape] = count
    lengths = np.array([len(code) for code in codes])
    for first, code in enumerate(codes):
        present = np.flatnonzero(counts[first])
        shared = np.minimum(counts[first + 1 :, present], counts[first, present]).sum(axis=1)
        enough = np.maximum(FEWEST_LAYERS, FEWEST_SHARE * np.minimum(lengths[first + 1 :], len(code)))
        for after in np.flatnonzero(shared >= enough):
            second = first + 1 + int(after)
            places = _matching(code, codes[second])
            if len(places[0]) >= enough[after]:
                yield _joined(families[first], families[second], *places), len(families[first].names)


def _matching(first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Places of equal shapes: place by place, or, of two lengths, from the first layer on and from the last one back.

    Heads and first layers differ between a network and one that is fine-tuned from it, and one may hold the other.
    """
    if len(first) == len(second):
        same = np.flatnonzero(first == second)
        return same, same
    shorter = min(len(first), len(second))
    before = _run(first[:shorter] == second[:shorter])
    after = min(_run(first[::-1][:shorter] == second[::-1][:shorter]), shorter - before)
    heads, tails = np.arange(before), np.arange(after, 0, -1)
    return np.concatenate([heads, len(first) - tails]), np.concatenate([heads, len(second) - tails])


def _run(equal: npt.NDArray[np.bool_]) -> int:
    """How many are true from the first on."""
    return len(equal) if equal.all() else int(np.argmin(equal))


def _joined(first: Family, second: Family, first_places: Ints, second_places: Ints) -> Family:
    def both(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(first, name)[:, first_places], getattr(second, name)[:, second_places]])

    arrays = {name: both(name) for name in ("identity", "probes", "known", "kurtosis", "mean", "noise")}
    return Family(names=[*first.names, *second.names], sizes=first.sizes[first_places], **arrays)  # type: ignore[arg-type]  # each keeps its kind
