"""Filters fragments of work folders before version 3: Arrow IPC files named after their layers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import pyarrow as pa

from filterzoo.store.filters import FILTER_SCHEMA


class FormerFilters:
    """Such a file, open for reading: one batch for each layer. ValueError for other columns."""

    def __init__(self, source: pa.NativeFile) -> None:
        self._reader = pa.ipc.open_file(source)

    def facts(self, columns: list[str]) -> pa.Table:
        """All rows of some columns."""
        return pa.concat_tables([self._table(number).select(columns) for number in self._numbers()])

    def layers(self, wanted: frozenset[str] | None = None) -> Iterator[pa.Table]:
        """The filters of each layer, or of those wanted, FILTER_SCHEMA."""
        for number in self._numbers():
            table = self._table(number)
            if wanted is None or table["layer_id"][0].as_py() in wanted:
                yield table.cast(FILTER_SCHEMA)

    def _numbers(self) -> Iterable[int]:
        return (n for n in range(self._reader.num_record_batches) if self._reader.get_batch(n).num_rows)

    def _table(self, number: int) -> pa.Table:
        batch = self._reader.get_batch(number)
        batch.validate(full=True)  # before offsets are used
        return pa.Table.from_batches([batch])


def former_name(layer_ids: Iterable[str]) -> str:
    """The name of such a file: a hash of its layer ids, in order."""
    return hashlib.sha256("\n".join(["filters", *layer_ids]).encode()).hexdigest()
