"""A file object for HDF5 that hides write errors from it.

HDF5 flushes on close. After a failed write, every object that it closes fails again, with messages of many lines, and
the process may end with a segmentation fault. This file remembers the first error and discards all later writes.
"""

from __future__ import annotations

import io
from pathlib import Path


class SteadyFile(io.FileIO):
    """Truncates the existing file at `path`. `check` raises the first write error; the content is then incomplete."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the OSError of the first failed write, if any."""
        if self._error is not None:
            raise self._error

    def write(self, data: memoryview) -> int:  # type: ignore[override]  # HDF5 passes nothing else
        """Write all of `data`, or remember the error."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        try:
            while rest and self._error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return length

    def flush(self) -> None:
        """Do nothing: the file is not buffered."""

    def truncate(self, size: int | None = None) -> int:
        """Set the length, or remember the error."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as above
        """Fill the buffer. After an error, bytes that were never written are zero."""
        place = memoryview(buffer).cast("B")
        count = super().readinto(place) or 0
        if self._error is not None:
            place[count:] = bytes(len(place) - count)
            return len(place)
        return count
