"""Reads a file sequentially: small pieces through a buffer, large ones are skipped without reading."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from filterzoo import Reason, Refused

if TYPE_CHECKING:
    from filterzoo import RandomAccessFile

_CHUNK = 16 << 10


class SequentialReader:
    """A position in a file. Every read is checked against the end: Refused (malformed) if the file is truncated."""

    def __init__(self, file: RandomAccessFile, position: int = 0, end: int | None = None) -> None:
        self.file = file
        self.end = file.size if end is None else end
        self.position = position
        self._buffer = b""
        self._base = 0

    @property
    def left(self) -> int:
        """Bytes from here to the end."""
        return self.end - self.position

    def take(self, length: int) -> bytes:
        """The next `length` bytes. The caller bounds `length`."""
        self._check(length)
        begin = self.position - self._base
        if begin < 0 or begin + length > len(self._buffer):
            self._base, begin = self.position, 0
            self._buffer = self.file.read(self._base, min(max(length, _CHUNK), self.file.size - self._base))
        self.position += length
        return self._buffer[begin : begin + length]

    def unpack(self, code: str) -> tuple[Any, ...]:
        """The next numbers, as `struct` reads them."""
        return struct.unpack(code, self.take(struct.calcsize(code)))

    def skip(self, length: int) -> None:
        """Skip `length` bytes."""
        self._check(length)
        self.position += length

    def _check(self, length: int) -> None:
        if not 0 <= length <= self.left:
            detail = f"cut off: {length} bytes expected, {self.left} are left"
            raise Refused(Reason.MALFORMED, detail[:160], f"byte {self.position}")
