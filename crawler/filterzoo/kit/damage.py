"""A sample as it arrives when something went wrong: cut short, or with other bytes in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from filterzoo.files import RandomAccessFile

FRONT = 1024
"""Most changes fall into so many first bytes, where the tables of most formats are."""
CUTS = 12
FLIPS = 60


@dataclass(frozen=True, slots=True)
class DamagedCopy:
    """`what` was done to the sample, in words."""

    what: str
    data: bytes


class HeldFile(RandomAccessFile):
    """Bytes in memory; the files beside it are those beside the sample."""

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
    """The sample's first bytes: nearly all, a few, and lengths between; the same ones every time."""
    lengths = {len(data) - 1, len(data) // 2, *range(4, min(len(data), 40), 9)}
    spread = random.Random(len(data))
    while len(lengths) < min(CUTS, len(data) - 1):
        lengths.add(spread.randrange(1, len(data)))
    for length in sorted(lengths - {0}):
        yield DamagedCopy(f"its first {length} bytes", data[:length])


def damaged(data: bytes) -> Iterator[DamagedCopy]:
    """The sample with lengths made enormous, fields made zero, bytes changed at random; the same ones each time."""
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
