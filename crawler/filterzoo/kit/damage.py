"""Damaged copies of a sample: truncated, or with changed bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from filterzoo.files import RandomAccessFile

FRONT = 1024
"""Most changes are in the first bytes, where most formats have their tables."""
CUTS = 12
FLIPS = 60


@dataclass(frozen=True, slots=True)
class DamagedCopy:
    """what: the damage, in words."""

    what: str
    data: bytes


class HeldFile(RandomAccessFile):
    """A file in memory, with the side files of the sample."""

    def __init__(self, data: bytes, sample: RandomAccessFile) -> None:
        self.size = len(data)
        self._data = data
        self._sample = sample

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        return self._data[offset : offset + length]

    def beside(self, name: str) -> RandomAccessFile:
        """See `RandomAccessFile.beside`."""
        return self._sample.beside(name)


def cut_short(data: bytes) -> Iterator[DamagedCopy]:
    """Truncations of the sample, from a few bytes to nearly all; deterministic."""
    lengths = {len(data) - 1, len(data) // 2, *range(4, min(len(data), 40), 9)}
    spread = random.Random(len(data))
    while len(lengths) < min(CUTS, len(data) - 1):
        lengths.add(spread.randrange(1, len(data)))
    for length in sorted(lengths - {0}):
        yield DamagedCopy(f"its first {length} bytes", data[:length])


def damaged(data: bytes) -> Iterator[DamagedCopy]:
    """The sample with huge lengths, zeroed fields, or random bytes; deterministic."""
    front = min(len(data), FRONT)
    for offset in range(0, min(front, 256), 4):
        for filling in (b"\xff", b"\0"):
            width = min(8, len(data) - offset)
            changed = data[:offset] + filling * width + data[offset + width :]
            if changed != data:
                yield DamagedCopy(f"bytes {offset} to {offset + width - 1} set to {filling.hex()}", changed)
    noise = random.Random(0)
    for _ in range(FLIPS):
        places = sorted(noise.sample(range(front), min(3, front)))
        copy = bytearray(data)
        for at in places:
            copy[at] ^= noise.randrange(1, 256)
        yield DamagedCopy(f"bytes {', '.join(map(str, places))} changed", bytes(copy))
