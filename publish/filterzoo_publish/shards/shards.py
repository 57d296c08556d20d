"""Writes the files of a plan: filters first, because layers point to them. Memory: one row group."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from filterzoo_publish.plan.entries import PlanEntry
from filterzoo_publish.plan.places import Places
from filterzoo_publish.plan.plan import Plan, split
from filterzoo_publish.plan.tables import layers_table, models_table
from filterzoo_publish.shards.cards import card_of, card_shard
from filterzoo_publish.shards.parquet import Shard, ShardWriter

MODEL_ROWS = 1 << 15
"""Rows of a file of `models`."""
LAYER_ROWS = 1 << 17
"""Rows of a file of `layers`, which holds whole checkpoints."""
LAYER_GROUP_ROWS = 1 << 12
"""Rows of a row group of `layers`, which holds whole checkpoints."""


def layer_shards(plan: Plan, folder: Path, pointers: Places) -> Iterator[Shard]:
    """Write the layers of the plan. pointers: where their filters are."""
    for names, entries in plan.groups().items():
        for part in split(entries, _layer_count, LAYER_ROWS):
            with ShardWriter(folder, "layers") as writer:
                for group in split(part, _layer_count, LAYER_GROUP_ROWS):
                    writer.write(pa.concat_tables(layers_table(entry, pointers) for entry in group))
                shard = writer.finish(*names)
            yield shard


def model_shards(plan: Plan, folder: Path) -> Iterator[Shard]:
    """Write the models of the plan and their metadata cards."""
    for names, entries in plan.groups().items():
        for part in split(entries, lambda _entry: 1, MODEL_ROWS):
            models = table_shard(models_table(part, plan.release), folder, "models", *names)
            yield card_shard(map(card_of, part), models, folder)
            yield models


def table_shard(table: pa.Table, folder: Path, config: str, *names: str) -> Shard:
    """Write a table that is in memory, in row groups of at most LAYER_ROWS rows."""
    with ShardWriter(folder, config) as writer:
        for first in range(0, max(1, len(table)), LAYER_ROWS):
            writer.write(table.slice(first, LAYER_ROWS))
        return writer.finish(*names)


def _layer_count(entry: PlanEntry) -> int:
    return entry.done.n_layers
