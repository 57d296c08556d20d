"""The page's data about single models: a table that users can filter, layers, and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from filterzoo.layers.layer import Doubles
from filterzoo_analysis.page import model_pictures
from filterzoo_analysis.sections import quality
from filterzoo_analysis.zoo import Zoo

FACTS = (
    "model_id",
    "source",
    "task",
    "visual_category",
    "architecture",
    "training_dataset",
    "licence",
    "robust",
    "n_layers",
    "filters_3x3",
    "clean_accuracy",
    "robust_accuracy",
    "pair_id",
    "framework",
    "format",
    "revision",
    "url",
    "duplicate_of",
)
SHOWN_FILTERS = 48
"""Number of filters that are shown for a model."""
MOST_LAYERS = 400_000
"""Largest number of layers in the page. If there are more, single layers are only in the tables."""


def document(zoo: Zoo) -> dict[str, Any]:
    """The JSON for the page's script: columns of models, columns of layers, and pictures."""
    models = zoo.dataset.models
    facts: dict[str, Any] = {name: models[name].to_pylist() for name in FACTS}
    everything = np.ones(len(zoo.layers), bool)
    for column in quality.MEASURES:
        facts[column] = _rounded(quality.model_means(zoo.layers, zoo.layers.numbers(column), everything))
    layers = _layers(zoo)
    marks = model_pictures.marks(zoo, layers["start"])
    return {"models": facts, "layers": layers, "marks": marks, "filters": _filters(zoo)}


def _layers(zoo: Zoo) -> dict[str, Any]:
    """Columns of all 3x3 layers with statistics, by model. `start`: index of each model's first layer."""
    layers = zoo.layers
    if len(layers) > MOST_LAYERS:
        return {"start": [0] * (len(layers.models) + 1)}
    counts = np.bincount(layers.model, minlength=len(layers.models))
    numbers = {
        name: _rounded(layers.numbers(name))
        for name in ("conv_depth_norm", "variance_entropy_threshold", *quality.MEASURES)
    }
    return numbers | {
        "start": [0, *np.cumsum(counts).tolist()],
        "name": layers.table["name"].to_pylist(),
        "kind": layers.table["kind"].to_pylist(),
        "n_filters": layers.table["n_filters"].to_pylist(),
    }


def _filters(zoo: Zoo) -> dict[str, list[Any]]:
    """For each model, the number and the picture of up to SHOWN_FILTERS sampled filters."""
    sample, total = zoo.sample(), len(zoo.dataset.models)
    shown: dict[str, list[Any]] = {"count": [0] * total, "picture": [""] * total}
    if not len(sample):
        return shown
    place = pc.index_in(sample["model_id"], zoo.dataset.models["model_id"].combine_chunks()).to_numpy()
    weights = np.nan_to_num(sample["weights"].combine_chunks().flatten().to_numpy().reshape(-1, 9), posinf=0, neginf=0)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(total + 1))
    for model in np.flatnonzero(np.diff(starts)):
        rows = order[starts[model] : starts[model + 1]]
        rows = rows[:: max(1, len(rows) // SHOWN_FILTERS)][:SHOWN_FILTERS]
        shown["count"][model], shown["picture"][model] = len(rows), model_pictures.filter_grid(weights[rows])
    return shown


def _rounded(values: Doubles) -> list[float | None]:
    """The values with four decimals; None for undefined ones."""
    return [None if not np.isfinite(value) else round(float(value), 4) for value in values]
