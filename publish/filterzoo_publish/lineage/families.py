"""Finds the layers of two families that can be compared: those of equal shapes at matching positions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from filterzoo_publish.lineage.nearest import FEWEST_LAYERS, Family, Ints

FEWEST_SHARE = 0.5
"""Least share of layers with equal shapes at matching positions, of the layers of the network that has fewer."""


class Loadable(Protocol):
    """A family that is read when it is compared."""

    @property
    def names(self) -> list[str]:
        """Of its networks."""
        ...

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of their layers."""
        ...

    def load(self) -> Family:
        """Read its numbers."""
        ...


def compared(families: Sequence[Loadable]) -> Iterator[tuple[Family, int]]:
    """(family, number) of each family, and of each two that share enough layers of equal shapes at matching positions.

    Two families are joined to one that has only these layers, the networks of the first family first. number: how many
    networks come from the first family, 0 for a single family. Only pairs of networks across the two are new.
    Of what `load` gives at most two families are in memory.
    """
    yield from ((family.load(), 0) for family in families)
    numbers = {shape: n for n, shape in enumerate(dict.fromkeys(shape for each in families for shape in each.shapes))}
    codes = [np.array([numbers[shape] for shape in each.shapes], np.int64) for each in families]
    shared = _Shared(codes)
    lengths = np.array([len(code) for code in codes])
    for first, code in enumerate(codes):
        enough = np.maximum(FEWEST_LAYERS, FEWEST_SHARE * np.minimum(lengths[first + 1 :], len(code)))
        own: Family | None = None
        for after in np.flatnonzero(shared.of(first) >= enough):
            second = first + 1 + int(after)
            places = _matching(code, codes[second])
            if len(places[0]) >= enough[after]:
                own = own or families[first].load()
                yield _joined(own, families[second].load(), *places), len(own.names)


class _Shared:
    """How many layers of equal shapes two families have, wherever they stand."""

    def __init__(self, codes: Sequence[Ints]) -> None:
        self._own = [Counter(code.tolist()) for code in codes]
        holders: dict[int, tuple[list[int], list[int]]] = {}
        for family, counts in enumerate(self._own):
            for shape, count in counts.items():
                members, amounts = holders.setdefault(shape, ([], []))
                members.append(family)
                amounts.append(count)
        self._holders = {shape: (np.array(own), np.array(amounts)) for shape, (own, amounts) in holders.items()}

    def of(self, first: int) -> Ints:
        """With each family behind it."""
        found = np.zeros(len(self._own) - first - 1, np.int64)
        for shape, count in self._own[first].items():
            members, amounts = self._holders[shape]
            later = int(np.searchsorted(members, first, side="right"))
            found[members[later:] - first - 1] += np.minimum(amounts[later:], count)
        return found


def _matching(first: Ints, second: Ints) -> tuple[Ints, Ints]:
    """Matching positions of equal shapes in two families.

    With equal numbers of layers, positions match one to one. Otherwise layers are matched from the first one forwards
    and from the last one backwards: fine-tuning may replace the head or the first layers, and a network may be part of
    another.
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
    """The number of leading true values."""
    return len(equal) if equal.all() else int(np.argmin(equal))


def _joined(first: Family, second: Family, first_places: Ints, second_places: Ints) -> Family:
    def both(name: str) -> npt.NDArray[np.generic]:
        return np.concatenate([getattr(first, name)[:, first_places], getattr(second, name)[:, second_places]])

    arrays = {name: both(name) for name in ("identity", "probes", "known", "kurtosis", "mean", "noise")}
    return Family(names=[*first.names, *second.names], sizes=first.sizes[first_places], **arrays)  # type: ignore[arg-type]  # each keeps its kind
