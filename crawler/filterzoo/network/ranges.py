"""Which stretches of a remote file are asked for together: what a request costs against what a gap costs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

PIECE = 8 << 20
"""Longest stretch of one request: pieces come side by side, and reading starts with the first."""
REQUEST_COST = 1 << 20
"""Bytes that could have come in the time of one request (50 ms at 20 MB/s): a longer gap is not worth bridging."""
SLACK_SHARE = 20
"""All bridged gaps of a file together are at most this fraction (1/20) of what is wanted of it ..."""
FREE_SLACK = 256 << 10
"""... or this many bytes, where that is more: in a file of small layers requests cost more than bytes."""


@dataclass(frozen=True, slots=True, order=True)
class Stretch:
    """The bytes from `begin` up to, not including, `end`."""

    begin: int
    end: int

    @property
    def length(self) -> int:
        """How many there are."""
        return self.end - self.begin


Missing = Callable[[Stretch], list[Stretch]]
"""Gives the parts of a stretch that are not here yet, in order."""


def plan(wanted: Sequence[Stretch], missing: Missing) -> list[Stretch]:
    """What to ask for so that all of `wanted` comes, both in the order of reading; no byte twice, none that is here.

    Neighbours become one request where the gap between them costs less than a request. The shortest gaps are bridged
    first, which saves the most requests for the slack there is.
    """
    parts = [part for run in merged(wanted) for part in missing(run)]
    joined = _bridged(parts, missing)
    pieces = [
        Stretch(begin, min(begin + PIECE, run.end)) for run in joined for begin in range(run.begin, run.end, PIECE)
    ]
    return _in_reading_order(pieces, wanted)


def merged(wanted: Sequence[Stretch]) -> list[Stretch]:
    """The same bytes as disjoint stretches in the order of the file."""
    merged: list[Stretch] = []
    for stretch in sorted(wanted):
        if merged and stretch.begin <= merged[-1].end:
            merged[-1] = Stretch(merged[-1].begin, max(merged[-1].end, stretch.end))
        elif stretch.length:
            merged.append(stretch)
    return merged


def _bridged(parts: list[Stretch], missing: Missing) -> list[Stretch]:
    """`parts` with the cheapest gaps between them filled."""
    slack = max(sum(part.length for part in parts) // SLACK_SHARE, FREE_SLACK)
    gaps = [Stretch(before.end, behind.begin) for before, behind in pairwise(parts)]
    bridged: set[Stretch] = set()
    for gap in sorted(gaps, key=lambda gap: gap.length):
        if gap.length > min(REQUEST_COST, slack):
            break
        # What is here already would come twice.
        if gap.length == 0 or missing(gap) == [gap]:
            bridged.add(gap)
            slack -= gap.length
    return merged([*parts, *bridged])


def _in_reading_order(pieces: list[Stretch], wanted: Sequence[Stretch]) -> list[Stretch]:
    """The pieces by the first of the wanted stretches that needs them."""
    begins = [piece.begin for piece in pieces]
    ranked: dict[int, Stretch] = {}
    for stretch in wanted:
        number = max(0, bisect_right(begins, stretch.begin) - 1)
        while number < len(pieces) and pieces[number].begin < stretch.end:
            if pieces[number].end > stretch.begin:
                ranked.setdefault(number, pieces[number])
            number += 1
    return list(ranked.values())
