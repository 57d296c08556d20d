"""The received bytes of a remote file: a few in memory, the others in an unnamed file on disk."""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from concurrent.futures import Future
from typing import IO

from filterzoo.errors import Reason, Refused, raise_failed_disk
from filterzoo.network.files.cache import PLACE
from filterzoo.network.files.ranges import ByteRange

IN_MEMORY = 1 << 20
"""Bytes of one file that are kept in memory: enough for the index of most files, so that they need no disk."""


class Slot:
    """Storage for one byte range, filled from its start. `arrival`, if set, completes when it is full or has failed."""

    __slots__ = ("_memory", "_place", "_store", "arrival", "byte_range", "filled")

    def __init__(self, byte_range: ByteRange, store: HeldBytes, place: int | None) -> None:
        self.byte_range = byte_range
        self.filled = byte_range.begin
        """The offset up to which bytes have arrived."""
        self.arrival: Future[None] | None = None
        self._store = store
        self._place = place
        self._memory = bytearray() if place is None else None

    @property
    def is_full(self) -> bool:
        """Whether all of its bytes have arrived."""
        return self.filled == self.byte_range.end

    def write(self, part: bytes) -> None:
        """Append bytes; any beyond the slot's end are dropped. Raises as `HeldBytes.write`."""
        part = part[: self.byte_range.end - self.filled]
        if self._memory is not None:
            self._memory += part
        else:
            self._store.write(part, (self._place or 0) + self.filled - self.byte_range.begin)
        self.filled += len(part)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes from `offset` of the file."""
        at = offset - self.byte_range.begin
        if self._memory is not None:
            buffer[:] = memoryview(self._memory)[at : at + len(buffer)]
        else:
            self._store.read_into((self._place or 0) + at, buffer)


class HeldBytes:
    """Slots that never overlap. One thread reserves, adds and reads; any thread may write to its own slot.

    create: creates the unnamed file when it is first needed. The file has as many bytes as were received; its space is
    freed when it is closed or the process ends.
    """

    def __init__(self, create: Callable[[], IO[bytes]]) -> None:
        self._create = create
        self._file: IO[bytes] | None = None
        self._descriptor = -1
        self._file_end = 0
        self._memory_left = IN_MEMORY
        self._begins: list[int] = []
        self._slots: list[Slot] = []

    def reserve(self, byte_range: ByteRange) -> Slot:
        """A slot for a byte range that is not present yet; `add` makes it present."""
        if byte_range.length <= self._memory_left:
            self._memory_left -= byte_range.length
            return Slot(byte_range, self, None)
        if self._file is None:
            try:
                self._file = self._create()
            except OSError as error:
                raise _refusal(error) from error
            self._descriptor = self._file.fileno()
        place, self._file_end = self._file_end, self._file_end + byte_range.length
        return Slot(byte_range, self, place)

    def add(self, slot: Slot) -> None:
        """These bytes count as present, or will be when the slot's `arrival` ends."""
        number = bisect_left(self._begins, slot.byte_range.begin)
        self._begins.insert(number, slot.byte_range.begin)
        self._slots.insert(number, slot)

    def missing(self, byte_range: ByteRange) -> list[ByteRange]:
        """The parts of a byte range that no slot has, in order."""
        parts = []
        at = byte_range.begin
        for slot in self.slots(byte_range):
            if slot.byte_range.begin > at:
                parts.append(ByteRange(at, slot.byte_range.begin))
            at = slot.byte_range.end
        if at < byte_range.end:
            parts.append(ByteRange(at, byte_range.end))
        return parts

    def slots(self, byte_range: ByteRange) -> list[Slot]:
        """The slots that have bytes of a byte range, in order."""
        first = max(0, bisect_right(self._begins, byte_range.begin) - 1)
        last = bisect_left(self._begins, byte_range.end)
        return [slot for slot in self._slots[first:last] if slot.byte_range.end > byte_range.begin]

    def write(self, part: bytes, place: int) -> None:
        """Write into the file; StorageFailed when the disk is full or fails, Refused for other errors."""
        view = memoryview(part)
        try:
            while view:
                count = os.pwrite(self._descriptor, view, place)
                place, view = place + count, view[count:]
        except OSError as error:
            raise _refusal(error) from error

    def read_into(self, place: int, buffer: memoryview) -> None:
        """Read from the file."""
        while buffer:
            count = os.preadv(self._descriptor, [buffer], place)
            place, buffer = place + count, buffer[count:]

    def close(self) -> None:
        """Free the space; after that no thread may write."""
        if self._file is not None:
            self._file.close()


def _refusal(error: OSError) -> Refused:
    raise_failed_disk(error, PLACE)
    return Refused(Reason.FETCH_FAILED, f"cannot write to the cache: {error.strerror}")
