"""`filters_sample`: a reproducible sample of filters of each checkpoint. Smaller samples are subsets of larger ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.layers.layer import Floats
from filterzoo.store.sample import KERNEL, LARGEST_QUOTA, Numbers, draw, pick
from filterzoo_publish.plan.entries import PlanEntry
from filterzoo_publish.plan.plan import Plan
from filterzoo_publish.plan.state import PublishedState
from filterzoo_publish.plan.tables import first_depths, with_axes
from filterzoo_publish.schema import arrow_schema
from filterzoo_publish.shards.parquet import Shard, ShardWriter

CONFIG = "filters_sample"
TOTAL = 2_000_000
"""Largest number of rows of `filters_sample`."""
GROUP_ROWS = 1 << 17
"""Rows of a row group, about 5 MB. The Hub's viewer reads a row group to show a page."""


def quota(filters_of_models: Iterable[int]) -> int:
    """Filters to draw from each checkpoint that has as many: the largest power of two that gives at most TOTAL rows."""
    counts = np.fromiter(filters_of_models, np.int64)
    size = LARGEST_QUOTA
    while size > 1 and int(np.minimum(counts, size).sum()) > TOTAL:
        size //= 2
    return size


def sample_shards(plan: Plan, folder: Path, size: int) -> Iterator[Shard]:
    """Write a sample of `size` filters of each entry."""
    for names, entries in plan.groups().items():
        yield from _written((sample_table(entry, size) for entry in entries), folder, names)


def sample_table(entry: PlanEntry, size: int) -> pa.Table:
    """The entry's rows, sorted by position of the layer, then index of the filter."""
    tables = [arrow_schema(CONFIG).empty_table()]
    sampled = [(layer.layer_id, layer.filters) for layer in entry.published if layer.kernel == KERNEL]
    if not sampled:
        return tables[0]
    chosen = {layer_id: numbers for layer_id, numbers in draw(entry.model_id, sampled, size).items() if len(numbers)}
    depth_of = first_depths(entry)
    for layer_id, weights in _weights(entry, chosen):
        numbers = chosen[layer_id]
        columns = {
            "layer_id": pa.repeat(layer_id, len(numbers)),
            "filter_index": pa.array(numbers),
            "conv_depth_norm": pa.repeat(depth_of[layer_id], len(numbers)),
            "weights": pa.FixedSizeListArray.from_arrays(pa.array(weights.reshape(-1)), 9),
        }
        tables.append(with_axes(CONFIG, columns, entry))
    return pa.concat_tables(tables)


def _weights(entry: PlanEntry, chosen: dict[str, Numbers]) -> Iterator[tuple[str, Floats]]:
    """(layer_id, its chosen filters), from the sample drawn by the crawl, or else from the stored filters."""
    taken = entry.sample()
    if taken is None:
        yield from pick(entry.filters(frozenset(chosen)), chosen)
        return
    for layer_id, wanted in chosen.items():
        numbers, weights = taken[layer_id]
        yield layer_id, weights[np.searchsorted(numbers, wanted)]


def thinned_shards(published: PublishedState, folder: Path, size: int) -> Iterator[Shard]:
    """The published files of the sample, reduced to `size` filters of each checkpoint."""
    layers = published_layers(published)
    for path in published.paths(CONFIG):
        table = published.read_file(path)
        kept = (
            _thinned(table.filter(pc.field("model_id") == model_id), draw(model_id, layers[model_id], size))
            for model_id in pc.unique(table["model_id"]).to_pylist()
        )
        yield from _written(kept, folder, path.split("/")[2:-1])


def published_layers(published: PublishedState) -> dict[str, list[tuple[str, int]]]:
    """model_id -> (layer_id, n_filters) of its unique 3x3 layers with published filters, in order."""
    columns = ["model_id", "layer_index", "layer_id", "n_filters", "kernel", "filters_file"]
    where = (pc.field("kernel") == "3x3") & pc.field("filters_file").is_valid()
    table = published.read("layers", columns, where).sort_by([("model_id", "ascending"), ("layer_index", "ascending")])
    counts: dict[str, dict[str, int]] = {}
    rows = zip(*(table[name].to_pylist() for name in ("model_id", "layer_id", "n_filters")), strict=True)
    for model_id, layer_id, count in rows:
        counts.setdefault(model_id, {}).setdefault(layer_id, count)
    return {model_id: list(layers.items()) for model_id, layers in counts.items()}


def _written(tables: Iterable[pa.Table], folder: Path, names: Iterable[str]) -> Iterator[Shard]:
    """A file with all rows; none if there are no rows."""
    groups = _regrouped(tables)
    first = next(groups, None)
    if first is None:
        return
    with ShardWriter(folder, CONFIG) as writer:
        writer.write(first)
        for group in groups:
            writer.write(group)
        shard = writer.finish(*names)
    yield shard


def _thinned(rows: pa.Table, chosen: dict[str, npt.NDArray[np.int64]]) -> pa.Table:
    """The chosen rows of one checkpoint."""
    wanted = {(layer_id, number) for layer_id, numbers in chosen.items() for number in numbers.tolist()}
    keys = zip(rows["layer_id"].to_pylist(), rows["filter_index"].to_pylist(), strict=True)
    return rows.filter(pa.array([key in wanted for key in keys], pa.bool_()))


def _regrouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in tables of GROUP_ROWS rows. The last table may be shorter, but is not empty."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(map(len, waiting)) >= GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, GROUP_ROWS)
            waiting = [joined.slice(GROUP_ROWS)]
    if any(map(len, waiting)):
        yield pa.concat_tables(waiting)
