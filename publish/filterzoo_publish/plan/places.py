"""A temporary SQLite file of millions of layers: which are new, and where their filters are stored."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from filterzoo import temporary
from filterzoo.temporary import failing_by_name
from filterzoo_publish.plan.state import Pointer

_CACHE_KB = 64_000
_DIGEST = 16
"""Bytes of a hash: two of 10^9 layers collide with a probability of 10^-21."""
_FEW = 100_000
"""Largest number of layer ids that are held in memory."""

_TABLE = """CREATE TABLE layers (
    name BLOB PRIMARY KEY, file INTEGER, row_group INTEGER, first_row INTEGER, rows INTEGER
) WITHOUT ROWID"""


class Places(Protocol):
    """layer_id -> where its filters are. A dict satisfies it."""

    def __getitem__(self, layer_id: str, /) -> Pointer: ...

    def update(self, places: Mapping[str, Pointer], /) -> None:
        """Add places."""
        ...


class LayerPlaces:
    """layer_id -> where its filters are, for the layers of a plan. For one thread at a time.

    few: the ids of the layers, or None once there are too many for memory.
    """

    def __init__(self) -> None:
        self.few: set[str] | None = set()
        self._files: dict[str, int] = {}
        self._names: list[str] = []
        self._database = temporary.table(_TABLE, _CACHE_KB)
        weakref.finalize(self, self._database.close)

    def add_new(self, layer_ids: Sequence[str]) -> list[bool]:
        """Add layers whose place is not known yet; returns for each whether it was new."""
        if self.few is not None:
            self.few.update(layer_ids)
            if len(self.few) > _FEW:
                self.few = None
        with failing_by_name():
            statement = "INSERT OR IGNORE INTO layers (name) VALUES (?)"
            return [self._database.execute(statement, (_digest(name),)).rowcount == 1 for name in layer_ids]

    def place_known(self, places: Iterable[tuple[str, Pointer]]) -> int:
        """Set places, ignoring layers that were not added; returns how many were set."""
        rows = ((*self._stored(pointer), _digest(layer_id)) for layer_id, pointer in places)
        with failing_by_name():
            before = self._database.total_changes
            self._database.executemany(
                "UPDATE layers SET file = ?, row_group = ?, first_row = ?, rows = ? WHERE name = ?", rows
            )
            return self._database.total_changes - before

    def update(self, places: Mapping[str, Pointer]) -> None:
        """Set places, adding the layers that are missing."""
        rows = ((_digest(layer_id), *self._stored(pointer)) for layer_id, pointer in places.items())
        with failing_by_name():
            self._database.executemany("INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?)", rows)

    def __getitem__(self, layer_id: str) -> Pointer:
        row = self._row(layer_id)
        if row is None:
            raise KeyError(layer_id)
        return Pointer(self._names[row[0]], *row[1:])

    def get(self, layer_id: str, default: Pointer) -> Pointer:
        """The layer's place, or `default` where it has none."""
        row = self._row(layer_id)
        return default if row is None else Pointer(self._names[row[0]], *row[1:])

    def __contains__(self, layer_id: str) -> bool:
        return self._row(layer_id) is not None

    def _row(self, layer_id: str) -> tuple[int, int, int, int] | None:
        statement = "SELECT file, row_group, first_row, rows FROM layers WHERE name = ? AND file IS NOT NULL"
        with failing_by_name():
            found: tuple[int, int, int, int] | None = self._database.execute(statement, (_digest(layer_id),)).fetchone()
        return found

    def _stored(self, pointer: Pointer) -> tuple[int, int, int, int]:
        if pointer.file not in self._files:
            self._files[pointer.file] = len(self._names)
            self._names.append(pointer.file)
        return (self._files[pointer.file], *pointer[1:])


def _digest(layer_id: str) -> bytes:
    return hashlib.blake2b(layer_id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
