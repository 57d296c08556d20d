"""Files of `filters`: the fragment of a large checkpoint is published unchanged, small ones share files.

A checkpoint that adds at least `ALONE_NUMBERS` weights has a file of its own. The others of a folder share files, in
the order of models. A file with all filters of exactly one checkpoint is that checkpoint's fragment: encoding it again
would give the same bytes. If another checkpoint owns some of the layers, the remaining ones are encoded again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Event

import pyarrow as pa

from filterzoo.store import filters as layout
from filterzoo.store.filters import FilterPosition, Piece, RowGroups, filters_of_piece
from filterzoo_publish.plan.entries import PlanEntry
from filterzoo_publish.plan.places import Places
from filterzoo_publish.plan.plan import Plan, split
from filterzoo_publish.plan.state import Pointer
from filterzoo_publish.plan.tables import first_depths, with_axes
from filterzoo_publish.shards.parquet import Shard, ShardWriter, new_place, published_path

CONFIG = "filters"
FILE_NUMBERS = 9 << 24
"""Weights in a file of small checkpoints: 16.7 million 3x3 filters, about 500 MB."""
_AT_ONCE = 4
"""Largest number of files that are written in parallel. Each takes a core, and the memory of two row groups."""
_Written = tuple[Shard, dict[str, FilterPosition]]


def filter_shards(plan: Plan, folder: Path, pointers: Places, *, as_links: bool = False) -> Iterator[Shard]:
    """Write the filters of the plan; adds the place of each layer to `pointers`.

    as_links: a fragment that is published unchanged may be a symbolic link, because the target reads it at once.
    """
    wanted = ((names, part) for names, entries in plan.groups().items() for part in parts(entries))
    for shard, places in _in_order(wanted, _Maker(folder, as_links=as_links)):
        pointers.update({layer_id: Pointer(shard.path, *place) for layer_id, place in places.items()})
        yield shard


def parts(entries: Iterable[PlanEntry]) -> Iterator[list[PlanEntry]]:
    """The entries of each file: large entries alone, then small ones together. Skips entries without filters."""
    small = []
    for entry in entries:
        if stored_numbers(entry) >= layout.ALONE_NUMBERS:
            yield [entry]
        else:
            small.append(entry)
    yield from split(small, stored_numbers, FILE_NUMBERS)


def stored_numbers(entry: PlanEntry) -> int:
    """Number of weights that the entry adds."""
    return sum(layer.numbers for layer in entry.stored)


class _Maker:
    """Makes the files, in any thread. ended: set when the consumer has stopped."""

    def __init__(self, folder: Path, *, as_links: bool) -> None:
        self.ended = Event()
        self._folder = folder
        self._as_links = as_links

    def make(self, names: tuple[str, str], part: list[PlanEntry]) -> _Written:
        """The file of these entries: a fragment, or written."""
        if len(part) == 1 and (taken := self._taken(names, part[0])) is not None:
            return taken
        with ShardWriter(self._folder, CONFIG) as writer:
            groups = RowGroups(writer.file)
            for run in split(part, stored_numbers, layout.ROW_GROUP_NUMBERS):
                for entry in run:
                    for piece in _pieces(entry):
                        if self.ended.is_set():
                            raise CancelledError
                        groups.add(piece)
                groups.end()
            return writer.finish(*names), groups.places

    def _taken(self, names: tuple[str, str], entry: PlanEntry) -> _Written | None:
        """The entry's fragment; None if it has other layers than the entry adds."""
        place = new_place(self._folder)
        found = entry.take_file(place, as_link=self._as_links)
        if found is None:
            return None
        rows = sum(position.rows for position in found.places.values())
        shard = Shard(CONFIG, published_path(CONFIG, found.sha256, *names), place, rows, place.stat().st_size)
        return shard, found.places


def _in_order(wanted: Iterable[tuple[tuple[str, str], list[PlanEntry]]], maker: _Maker) -> Iterator[_Written]:
    """The files: made in parallel, yielded in order."""
    count = min(_AT_ONCE, os.cpu_count() or 1)
    waiting: deque[Future[_Written]] = deque()
    remaining = iter(wanted)
    with ThreadPoolExecutor(count, "filterzoo-shards") as threads:
        try:
            while True:
                waiting.extend(threads.submit(maker.make, *task) for task in islice(remaining, count - len(waiting)))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            maker.ended.set()


def _pieces(entry: PlanEntry) -> Iterator[Piece]:
    """The layers that the entry adds, split into the same pieces as in a fragment."""
    depth_of = first_depths(entry)
    stored = {layer.layer_id: layer for layer in entry.stored}
    for rows in entry.filters(frozenset(stored)):
        layer_id = rows["layer_id"][0].as_py()
        layer = stored[layer_id]
        size = layer.numbers // layer.filters
        step = -(-filters_of_piece(layer.filters, size) // layout.BLOCK)
        for start in range(0, len(rows), step):
            piece = rows.slice(start, step).combine_chunks()
            columns = {name: piece[name] for name in piece.schema.names}
            columns["conv_depth_norm"] = pa.repeat(depth_of[layer_id], len(piece))
            yield Piece(layer_id, with_axes(CONFIG, columns, entry), sum(piece["n_filters"].to_pylist()) * size)
