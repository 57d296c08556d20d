"""Merges byte ranges of a remote file into requests, by the cost of a request and that of a gap."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

READ_AHEAD = 64 << 10
"""Bytes of the first request of a file, and most bytes that a small read fetches."""
READ_AHEAD_BUDGET = 384 << 10
"""Most bytes of a file that are read ahead without being used."""
PIECE = 8 << 20
"""Longest byte range of one request: pieces are fetched in parallel, and reading starts with the first."""
REQUEST_COST = 1 << 20
"""The cost of one request in bytes (50 ms at 20 MB/s): longer gaps are not bridged."""
SLACK_SHARE = 20
"""All bridged gaps of a file together are at most this fraction (1/20) of the wanted bytes ..."""
FREE_SLACK = 256 << 10
"""... or this many bytes, if that is more: in a file of small layers requests cost more than bytes."""


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """The bytes from `begin` up to, not including, `end`."""

    begin: int
    end: int

    @property
    def length(self) -> int:
        """The number of bytes."""
        return self.end - self.begin


Missing = Callable[[ByteRange], list[ByteRange]]
"""Returns the missing parts of a byte range, in order."""


def requests_for(wanted: Sequence[ByteRange], missing: Missing) -> list[ByteRange]:
    """The requests that cover the missing parts of `wanted`, in reading order, each byte once.

    Neighbours become one request if the gap between them costs less than a request. The shortest gaps are bridged
    first, which saves the most requests within the allowed slack.
    """
    parts = [part for run in merged(wanted) for part in missing(run)]
    joined = _bridged(parts, missing)
    pieces = [
        ByteRange(begin, min(begin + PIECE, run.end)) for run in joined for begin in range(run.begin, run.end, PIECE)
    ]
    return _in_reading_order(pieces, wanted)


def merged(wanted: Sequence[ByteRange]) -> list[ByteRange]:
    """The same bytes as disjoint byte ranges in the order of the file."""
    merged: list[ByteRange] = []
    for byte_range in sorted(wanted):
        if merged and byte_range.begin <= merged[-1].end:
            merged[-1] = ByteRange(merged[-1].begin, max(merged[-1].end, byte_range.end))
        elif byte_range.length:
            merged.append(byte_range)
    return merged


def _bridged(parts: list[ByteRange], missing: Missing) -> list[ByteRange]:
    """`parts` with the cheapest gaps between them filled."""
    slack = max(sum(part.length for part in parts) // SLACK_SHARE, FREE_SLACK)
    gaps = [ByteRange(before.end, after.begin) for before, after in pairwise(parts)]
    bridged: set[ByteRange] = set()
    for gap in sorted(gaps, key=lambda gap: gap.length):
        if gap.length > min(REQUEST_COST, slack):
            break
        # Do not fetch bytes again that are present.
        if gap.length == 0 or missing(gap) == [gap]:
            bridged.add(gap)
            slack -= gap.length
    return merged([*parts, *bridged])


def _in_reading_order(pieces: list[ByteRange], wanted: Sequence[ByteRange]) -> list[ByteRange]:
    """The pieces, ordered by the first wanted byte range that needs them."""
    begins = [piece.begin for piece in pieces]
    ranked: dict[int, ByteRange] = {}
    for byte_range in wanted:
        number = max(0, bisect_right(begins, byte_range.begin) - 1)
        while number < len(pieces) and pieces[number].begin < byte_range.end:
            if pieces[number].end > byte_range.begin:
                ranked.setdefault(number, pieces[number])
            number += 1
    return list(ranked.values())
