"""Checks `filters_sample`: which filters were drawn. Their weights are compared while `filters` is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filterzoo.store.sample import draw
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.shards.sample import quota
from filterzoo_publish.verify.layers import PublishedLayers
from filterzoo_publish.verify.models import Model, model_key
from filterzoo_publish.verify.problems import Examination


class Sampled(NamedTuple):
    """The sampled filters of a layer. numbers: their sorted indices, (n,). weights: (n, 9)."""

    numbers: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


def check_sample(
    examination: Examination, models: dict[str, Model], layers: PublishedLayers, releases: Sequence[Release]
) -> dict[str, Sampled]:
    """The sample by layer_id. Its quota never grows, so after a takedown it may be below the limit."""
    size = min(quota(model["published_filters"] for model in models.values()), releases[-1].sample_quota)
    found: dict[str, list[tuple[str, int]]] = {}
    tables: list[pa.Table] = []
    last: dict[str, tuple[str, str, str]] = {}
    for path, _, table in examination.row_groups("filters_sample"):
        tables.append(table.select(["layer_id", "filter_index", "weights"]))
        names, *keys = (table[name].to_pylist() for name in ("model_id", "layer_id", "filter_index"))
        for name, rows in groupby(zip(names, *keys, strict=True), key=lambda row: row[0]):
            found.setdefault(name, []).extend((layer_id, number) for _, layer_id, number in rows)
            key = model_key(models[name]) if name in models else ("", "", "")
            if key < last.get(path, key):
                examination.report("order", path, f"{name} follows a later model, or is not in models")
            last[path] = key
    for name in sorted(found.keys() | layers.sampled.keys()):
        drawn = draw(name, list(layers.sampled.get(name, {}).items()), size)
        if found.get(name, []) != [(layer_id, number) for layer_id, own in drawn.items() for number in own.tolist()]:
            examination.report("sample", name, "its rows in filters_sample are not the ones that are drawn")
    return _by_layer(tables)


def differs(sample: Mapping[str, Sampled], layer_id: str, first: int, filters: npt.NDArray[np.float32]) -> bool:
    """Whether the sample differs from `filters`, (n, 9): the layer's filters from index `first` on."""
    own = sample.get(layer_id)
    if own is None:
        return False
    here = (own.numbers >= first) & (own.numbers < first + len(filters))
    return own.weights[here].tobytes() != filters[own.numbers[here] - first].tobytes()


def _by_layer(tables: list[pa.Table]) -> dict[str, Sampled]:
    if not tables:
        return {}
    table = pa.concat_tables(tables).sort_by([("layer_id", "ascending"), ("filter_index", "ascending")])
    ids = table["layer_id"].to_pylist()
    numbers = table["filter_index"].to_numpy()
    weights = table["weights"].combine_chunks().flatten().to_numpy().reshape(-1, 9)
    sample: dict[str, Sampled] = {}
    start = 0
    for layer_id, run in groupby(ids):
        end = start + sum(1 for _ in run)
        sample[layer_id] = Sampled(numbers[start:end], weights[start:end])
        start = end
    return sample
