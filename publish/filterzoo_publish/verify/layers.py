"""Checks `layers`: order, shapes, counts of models, and that all rows of a layer have the same pointer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice, pairwise
from operator import itemgetter
from typing import Any

import pyarrow as pa

from filterzoo.errors import FilterZooError
from filterzoo.layers.shapes import kernel_name
from filterzoo_publish.plan.facts import FACTUAL, facts_of_layers, weights_id_of
from filterzoo_publish.plan.state import POINTER_COLUMNS, Pointer
from filterzoo_publish.shards.shards import LAYER_ROWS
from filterzoo_publish.verify.models import Model, model_key
from filterzoo_publish.verify.problems import Examination
from filterzoo_publish.verify.statistics import Measures, check_statistics

_AXES = ("source", "licence_class", "architecture", "task", "training_dataset", "visual_category", "robust")
_OWN = ("model_id", "layer_index", "layer_id", "shape", "n_filters", "conv_depth_norm")
_COLUMNS = [*_OWN, *FACTUAL, *POINTER_COLUMNS, *_AXES]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PublishedLayer:
    """What `layers` has about a layer with published filters."""

    shape: tuple[int, ...]
    n_filters: int
    pointer: Pointer


@dataclass(frozen=True, slots=True)
class PublishedLayers:
    """The expected content of `filters` and of the sample.

    stored: layer_id -> layer. depths: (model_id, layer_id) -> conv_depth_norm of the layer's first occurrence in the
    model. measures: the layers whose measures are computed again. sampled: model_id -> 3x3 layer_id -> n_filters, in
    the order of the model.
    """

    stored: dict[str, PublishedLayer] = field(default_factory=dict)
    depths: dict[tuple[str, str], float] = field(default_factory=dict)
    sampled: dict[str, dict[str, int]] = field(default_factory=dict)
    measures: Measures = field(default_factory=Measures)


def check_layers(examination: Examination, models: dict[str, Model], *, full: bool = False) -> PublishedLayers:
    """Check all rows and collect what `filters` has to hold. full: compute the measures of all layers again."""
    layers = PublishedLayers(measures=Measures(full))
    counted: set[str] = set()
    last: dict[str, tuple[str, str, str]] = {}
    for path, rows in _by_model(examination, layers.measures):
        model = models.get(rows[0]["model_id"])
        if model is None:
            examination.report("model", path, f"{rows[0]['model_id']} has layers and is not in models")
            continue
        name, key = model["model_id"], model_key(model)
        if name in counted:
            examination.report("unique", path, f"layers of {name} are in two places")
        if key < last.get(path, key):
            examination.report("order", path, f"{name} follows a later model")
        counted.add(name)
        last[path] = key
        examination.check_folder(path, rows[0])
        _check_rows(examination, path, model, rows)
        _note(examination, layers, path, rows)
    for name in sorted(models.keys() - counted):
        if models[name]["n_layers"]:
            examination.report("count", name, f"has no rows in layers; models says {models[name]['n_layers']}")
    return layers


def _by_model(examination: Examination, measures: Measures) -> Iterator[tuple[str, list[Row]]]:
    """(path, rows of one model in one row group), in the order of the files."""
    for (path, _), parts in groupby(examination.parts("layers"), key=itemgetter(0, 1)):
        for name, own in groupby(_rows(examination, parts, measures), key=itemgetter("model_id")):
            rows = list(islice(own, LAYER_ROWS + 1))
            if len(rows) > LAYER_ROWS:
                raise FilterZooError(
                    f"{path}: {ascii(name)[:80]} has more than {LAYER_ROWS:,} layers; no release's has"
                )
            yield path, rows


def _rows(examination: Examination, parts: Iterator[tuple[str, int, pa.Table]], measures: Measures) -> Iterator[Row]:
    """The rows of a row group, without the statistics, which are checked here."""
    for path, _, table in parts:
        check_statistics(examination, path, table)
        measures.note(table)
        yield from table.select(_COLUMNS).to_pylist()


def _check_rows(examination: Examination, path: str, model: Model, rows: list[Row]) -> None:
    """Check the rows of one model: order, axes and counts."""
    name = model["model_id"]
    indices = [row["layer_index"] for row in rows]
    if any(high <= low for low, high in pairwise(indices)):
        examination.report("order", path, f"layers of {name} are not in the order of layer_index")
    for row in rows:
        out, channels, *kernel = row["shape"]
        if row["n_filters"] != out * channels or row["kernel"] != kernel_name(tuple(kernel)):
            examination.report("value", path, f"{name}, layer {row['layer_index']}: its shape and counts disagree")
        if any(row[axis] != model[axis] for axis in _AXES):
            examination.report("value", path, f"{name}, layer {row['layer_index']}: is not described as its model is")
    shown = {row["layer_id"]: row["n_filters"] for row in rows if row["filters_file"] is not None}
    found = {
        "n_layers": len(rows),
        "n_filters": sum(row["n_filters"] for row in rows),
        "filters_3x3": sum(row["n_filters"] for row in rows if row["kernel"] == "3x3"),
        "published_filters": sum(shown.values()),
        "weights_id": weights_id_of(row["layer_id"] for row in rows),
        **facts_of_layers(rows),
    }
    for column, value in found.items():
        if model[column] != value:
            examination.report("count", name, f"{column} is {model[column]} in models, {value} by its layers")


def _note(examination: Examination, layers: PublishedLayers, path: str, rows: list[Row]) -> None:
    """Record the pointers to filters. All rows of a layer must agree."""
    for row in rows:
        if row["filters_file"] is None:
            continue
        pointer = Pointer(*(row[column] for column in POINTER_COLUMNS))
        stored = PublishedLayer(tuple(row["shape"]), row["n_filters"], pointer)
        if layers.stored.setdefault(row["layer_id"], stored) != stored:
            examination.report("pointer", path, f"two rows of layer {row['layer_id']} point to different places")
        layers.depths.setdefault((row["model_id"], row["layer_id"]), row["conv_depth_norm"])
        if row["kernel"] == "3x3":
            layers.sampled.setdefault(row["model_id"], {}).setdefault(row["layer_id"], row["n_filters"])
