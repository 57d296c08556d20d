"""Lists that are too long for memory: records in an unnamed temporary file. Memory: 8 bytes for each record."""

from __future__ import annotations

import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, Generic, TypeVar

from filterzoo.temporary import write_all

Record = TypeVar("Record")
_BUFFER = 1 << 20
"""Bytes that are collected before they are written."""


class Spool(Collection[Record], Generic[Record]):
    """A sequence of records, readable by any thread. StorageFailed if the temporary folder is full.

    encode, decode: convert a record to ASCII text and back.
    """

    def __init__(
        self, records: Iterable[Record], encode: Callable[[Record], str], decode: Callable[[str], Record]
    ) -> None:
        self._decode = decode
        self._ends = array("Q")
        with tempfile.TemporaryFile(prefix="filterzoo-") as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        waiting = bytearray()
        written = 0
        for record in records:
            waiting += encode(record).encode("ascii")
            self._ends.append(written + len(waiting))
            if len(waiting) >= _BUFFER:
                write_all(self._file, waiting)
                written += len(waiting)
                waiting.clear()
        write_all(self._file, waiting)
        self._order: array[int] | None = None

    def sort(self, key: Callable[[Record], Any]) -> None:
        """Sort the records. All keys are held in memory, unless the records are already sorted."""
        last = None
        for record in self:
            own = key(record)
            if last is not None and own < last:
                break
            last = own
        else:
            return
        keys = [key(record) for record in self]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self._order = array("Q", (order if self._order is None else (self._order[place] for place in order)))

    def __getitem__(self, place: int) -> Record:
        number = place if self._order is None else self._order[place]
        start = self._ends[number - 1] if number else 0
        return self._decode(os.pread(self._file, self._ends[number] - start, start).decode("ascii"))

    def __len__(self) -> int:
        return len(self._ends)

    def __iter__(self) -> Iterator[Record]:
        return map(self.__getitem__, range(len(self)))

    def __contains__(self, record: object) -> bool:
        return any(record == other for other in self)
