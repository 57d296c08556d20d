"""From a plan to files: filters first, since layers point to them. Memory is bounded by a row group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import pyarrow as pa

from filterzoo.store.fragments import BLOCK
from filterzoo_publish.plan.plan import Plan, PlanEntry, split
from filterzoo_publish.plan.state import Pointer
from filterzoo_publish.plan.tables import first_depths, layers_table, models_table, with_axes
from filterzoo_publish.shards.cards import card_of, card_shard
from filterzoo_publish.shards.parquet import Shard, ShardWriter

FILE_NUMBERS = 9 << 24
"""Weights in a filters file: 16.7 million 3x3 filters, about 500 MB. A larger checkpoint has a file of its own."""
ROW_GROUP_NUMBERS = 9 << 19
"""Most weights in a row group: half a million 3x3 filters, about 16 MB. Larger ones are slower to stream, since the
memory of more than 32 MB goes back to the system after each; smaller ones save no request, since Arrow joins reads up
to 32 MB. Checkpoints of half of that or more share none; smaller ones stand in one together, since a row group of a few
filters costs more in the footer than it saves."""
MODEL_ROWS = 1 << 15
"""Rows of a models file."""
LAYER_ROWS = 1 << 17
"""Rows of a layers file, whole checkpoints."""
LAYER_GROUP_ROWS = 1 << 12
"""Rows of a row group of a layers file, whole checkpoints."""


def filter_shards(plan: Plan, folder: Path, pointers: dict[str, Pointer]) -> Iterator[Shard]:
    """Write the filters of the plan; where each layer went is put into `pointers`."""
    for names, entries in plan.groups().items():
        for part in split(entries, _stored_numbers, FILE_NUMBERS):
            with ShardWriter(folder, "filters") as writer:
                places = _write_filters(writer, part)
                shard = writer.finish(*names)
            pointers |= {layer_id: place._replace(file=shard.path) for layer_id, place in places.items()}
            yield shard


def layer_shards(plan: Plan, folder: Path, pointers: Mapping[str, Pointer]) -> Iterator[Shard]:
    """Write the layers of the plan, whose filters are where `pointers` says."""
    for names, entries in plan.groups().items():
        for part in split(entries, _layer_count, LAYER_ROWS):
            with ShardWriter(folder, "layers") as writer:
                for group in split(part, _layer_count, LAYER_GROUP_ROWS):
                    writer.write(pa.concat_tables(layers_table(entry, pointers) for entry in group))
                shard = writer.finish(*names)
            yield shard


def model_shards(plan: Plan, folder: Path) -> Iterator[Shard]:
    """Write the models of the plan, and their cards."""
    for names, entries in plan.groups().items():
        for part in split(entries, lambda _entry: 1, MODEL_ROWS):
            models = table_shard(models_table(part, plan.release), folder, "models", *names)
            yield card_shard(map(card_of, part), models, folder)
            yield models


def table_shard(table: pa.Table, folder: Path, config: str, *names: str) -> Shard:
    """Write a table that is there as a whole, as one row group."""
    with ShardWriter(folder, config) as writer:
        writer.write(table)
        return writer.finish(*names)


def _write_filters(writer: ShardWriter, entries: Iterable[PlanEntry]) -> dict[str, Pointer]:
    """Write the entries' own filters; gives the place of each layer, the file's name not yet known."""
    places: dict[str, Pointer] = {}
    for run in split(entries, _stored_numbers, ROW_GROUP_NUMBERS, alone=ROW_GROUP_NUMBERS // 2):
        waiting: list[pa.Table] = []
        filled = 0
        for layer_id, piece, numbers in chain.from_iterable(_pieces(entry) for entry in run):
            if waiting and filled + numbers > ROW_GROUP_NUMBERS:
                writer.write(pa.concat_tables(waiting))
                waiting, filled = [], 0
            start = Pointer("", writer.row_groups, writer.rows + sum(map(len, waiting)), 0)
            place = places.get(layer_id, start)
            places[layer_id] = place._replace(rows=place.rows + len(piece))
            waiting.append(piece)
            filled += numbers
        writer.write(pa.concat_tables(waiting))
    return places


def _pieces(entry: PlanEntry) -> Iterator[tuple[str, pa.Table, int]]:
    """(layer_id, rows of `filters`, weights in them) of the layers the entry brings; row groups hold whole pieces."""
    depth_of = first_depths(entry)
    stored = {layer.layer_id: layer for layer in entry.stored}
    for batch in entry.filters(stored.keys()):
        layer = stored[batch["layer_id"][0].as_py()]
        columns = {name: batch[name] for name in batch.schema.names}
        columns["conv_depth_norm"] = pa.repeat(depth_of[layer.layer_id], len(batch))
        table = with_axes("filters", columns, entry)
        filter_size = layer.numbers // layer.filters
        rows = len(table) if layer.numbers <= ROW_GROUP_NUMBERS else max(1, ROW_GROUP_NUMBERS // (BLOCK * filter_size))
        for start in range(0, len(table), rows):
            piece = table.slice(start, rows)
            yield layer.layer_id, piece, sum(piece["n_filters"].to_pylist()) * filter_size


def _stored_numbers(entry: PlanEntry) -> int:
    return sum(layer.numbers for layer in entry.stored)


def _layer_count(entry: PlanEntry) -> int:
    return entry.done.n_layers
