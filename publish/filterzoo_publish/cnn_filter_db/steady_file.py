"""A file for HDF5 to write to, which keeps a disk's errors away from it.

HDF5 flushes when it closes: after a write that failed, every object it closes fails again, with messages of many lines,
and the process may end with a segmentation fault. So the first error is remembered, and what follows goes nowhere.
"""

from __future__ import annotations

import io
from pathlib import Path


class SteadyFile(io.FileIO):
    """The file at `path`, which is there, emptied. `check` raises what went wrong; its content is of no use then."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+")
        self._trouble: OSError | None = None

    def check(self) -> None:
        """OSError where something was not written."""
        if self._trouble is not None:
            raise self._trouble

    def write(self, data: memoryview) -> int:  # type: ignore[override]  # HDF5 hands over nothing else
        """Write all of it, or remember why not."""
        rest = memoryview(data).cast("B")
        length = len(rest)
        try:
            while rest and self._trouble is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._trouble = error
        return length

    def flush(self) -> None:
        """Nothing is kept back."""

    def truncate(self, size: int | None = None) -> int:
        """Set the length, or remember why not."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._trouble = self._trouble or error
            return size or 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as above
        """Fill the buffer, with zeros where nothing could be written."""
        place = memoryview(buffer).cast("B")
        count = super().readinto(place) or 0
        if self._trouble is not None:
            place[count:] = bytes(len(place) - count)
            return len(place)
        return count
