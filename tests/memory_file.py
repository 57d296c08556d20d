"""A file in memory that records its reads."""

from __future__ import annotations

from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile


class MemoryFile(RandomAccessFile):
    """reads: the (offset, length) of every read, in order. sides: side files by name, such as external data."""

    def __init__(self, data: bytes, sides: dict[str, bytes] | None = None, *, is_remote: bool = False) -> None:
        self.data = data
        self.size = len(data)
        self.is_remote = is_remote
        self.reads: list[tuple[int, int]] = []
        self.sides = {name: MemoryFile(side, is_remote=is_remote) for name, side in (sides or {}).items()}
        self.closed = False

    def read(self, offset: int, length: int) -> bytes:
        self.check_bounds(offset, length)
        self.reads.append((offset, length))
        return self.data[offset : offset + length]

    def beside(self, name: str) -> RandomAccessFile:
        if name not in self.sides:
            raise Refused(Reason.MALFORMED, "no such side file", name)
        return self.sides[name]

    def close(self) -> None:
        self.closed = True

    def times_read(self) -> list[int]:
        """How often each byte was read."""
        times = [0] * self.size
        for offset, length in self.reads:
            for place in range(offset, offset + length):
                times[place] += 1
        return times
