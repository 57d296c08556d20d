"""Rewrites files without the rows of removed models: row group by row group, in the same order, under new names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.parquet import ParquetFile
from filterzoo_publish.plan.places import LayerPlaces
from filterzoo_publish.plan.state import POINTER_COLUMNS, Pointer, PublishedState
from filterzoo_publish.schema import with_every_column
from filterzoo_publish.shards.cards import card_path, card_shard, read_cards
from filterzoo_publish.shards.filters import filter_shards
from filterzoo_publish.shards.parquet import Shard, ShardWriter
from filterzoo_publish.takedown.inheritance import Inheritance, holds

Edit = Callable[[pa.Table], pa.Table]


class Rewriting:
    """Rewrites the affected files. outdated: the paths of the files that `shards` has replaced so far."""

    def __init__(
        self, published: PublishedState, gone: Mapping[str, dict[str, Any]], inheritance: Inheritance, folder: Path
    ) -> None:
        self.outdated: set[str] = set()
        self._published = published
        self._gone = gone
        self._names = pa.array(list(gone), pa.string())
        self._inheritance = inheritance
        self._folder = folder
        self._pointers = LayerPlaces()
        self._inherited: dict[str, int] = {}

    def shards(self) -> Iterator[Shard]:
        """Write the new files: filters first, then the files that point to them."""
        yield from self._filters()
        yield from self._each("layers", self._with_pointers, self._is_pointed_elsewhere)
        yield from self._each("filters_sample", lambda table: table, lambda _path: False)
        yield from self._each("models", self._with_owners, self._has_new_owner)

    def models(self) -> pa.Table:
        """All models after the takedown."""
        return self._with_owners(self.staying(self._published.models))

    def _filters(self) -> Iterator[Shard]:
        for path in self._published.paths("filters"):
            if holds(path, self._gone) and self._has_gone(path):
                places: dict[str, Pointer] = {}
                shard = self._written(path, "filters", lambda table: table, places)
                if shard:
                    moved = {layer_id: place._replace(file=shard.path) for layer_id, place in places.items()}
                    self._pointers.update(moved)
                    yield shard
        plan = self._inheritance.plan(self._published)
        self._inherited = {entry.model_id: sum(layer.filters for layer in entry.stored) for entry in plan.entries}
        yield from filter_shards(plan, self._folder, self._pointers)

    def _each(self, config: str, edit: Edit, is_affected: Callable[[str], bool]) -> Iterator[Shard]:
        """Rewrite the files of the config that have rows of removed models or are otherwise affected."""
        for path in self._published.paths(config):
            if self._has_gone(path) or is_affected(path):
                shard = self._written(path, config, edit)
                if config == "models":
                    yield from self._cards(path, shard)
                if shard:
                    yield shard

    def _cards(self, path: str, models: Shard | None) -> Iterator[Shard]:
        """Write the remaining cards of a file of `models`."""
        files = self._published.files
        cards = list(read_cards(files, path)) if files else []
        if cards:
            self.outdated.add(card_path(path))
        if cards and models:
            kept = (line for line, card in cards if card["model_id"] not in self._gone)
            yield card_shard(kept, models, self._folder)

    def _written(self, path: str, config: str, edit: Edit, places: dict[str, Pointer] | None = None) -> Shard | None:
        """Write the file without the removed models; None if no row is left. Adds new places of layers to `places`."""
        self.outdated.add(path)
        with ShardWriter(self._folder, config) as writer:
            for group in self._row_groups(path, config):
                kept = edit(self.staying(group))
                if not len(kept):
                    continue
                if places is not None:
                    _note(places, kept, writer)
                writer.write(kept)
            shard = writer.finish(*path.split("/")[2:-1])
        if shard.rows:
            return shard
        shard.local.unlink()
        return None

    def _row_groups(self, path: str, config: str) -> Iterator[pa.Table]:
        files = self._published.files
        if files is None:
            return
        with files.open(path) as file, ParquetFile(file, where=f"{files.root}: {path}") as parquet:
            for number in range(parquet.num_row_groups):
                yield with_every_column(config, parquet.read_row_group(number))

    def _has_gone(self, path: str) -> bool:
        names = self._published.read_file(path, ["model_id"])["model_id"]
        return bool(pc.any(pc.is_in(names, self._names)).as_py())

    def staying(self, table: pa.Table) -> pa.Table:
        """The rows of remaining models."""
        return table.filter(pc.invert(pc.is_in(table["model_id"], self._names)))

    def _is_pointed_elsewhere(self, path: str) -> bool:
        files = pa.array([path for path in self.outdated if path.startswith("data/filters/")], pa.string())
        pointed = self._published.read_file(path, ["filters_file"])["filters_file"]
        return bool(pc.any(pc.is_in(pointed, files)).as_py())

    def _with_pointers(self, table: pa.Table) -> pa.Table:
        """The rows with updated pointers to filters."""
        places = [Pointer(*row) for row in zip(*(table[name].to_pylist() for name in POINTER_COLUMNS), strict=True)]
        ids = table["layer_id"].to_pylist()
        now = [self._pointers.get(i, old) if old.file else old for i, old in zip(ids, places, strict=True)]
        for number, name in enumerate(POINTER_COLUMNS):
            table = _with_column(table, name, [place[number] for place in now])
        return table

    def _has_new_owner(self, path: str) -> bool:
        names = self._published.read_file(path, ["model_id"])["model_id"].to_pylist()
        return not (self._inherited.keys() | self._inheritance.twins.keys()).isdisjoint(names)

    def _with_owners(self, table: pa.Table) -> pa.Table:
        """The models with what they inherited."""
        twins = self._inheritance.twins
        rows = table.select(["model_id", "stored_filters", "duplicate_of"]).to_pylist()
        stored = [row["stored_filters"] + self._inherited.get(row["model_id"], 0) for row in rows]
        table = _with_column(table, "stored_filters", stored)
        return _with_column(table, "duplicate_of", [twins.get(r["model_id"], r["duplicate_of"]) for r in rows])


def _note(places: dict[str, Pointer], rows: pa.Table, writer: ShardWriter) -> None:
    """Record the places of the layers in the next row group."""
    for number, layer_id in enumerate(rows["layer_id"].to_pylist()):
        place = places.get(layer_id, Pointer("", writer.row_groups, writer.rows + number, 0))
        places[layer_id] = place._replace(rows=place.rows + 1)


def _with_column(table: pa.Table, name: str, values: list[Any]) -> pa.Table:
    """The table with a column replaced."""
    field = pa.field(name, table.schema.field(name).type)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))
