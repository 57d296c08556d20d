"""What the page knows of single models: the table to filter, layers by depth, and a few filters of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.compute as pc

from filterzoo.layer import Doubles
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
"""Filters of a model on its page."""
MOST_LAYERS = 400_000
"""Layers in the page; beyond that single layers are left to the tables."""


def document(zoo: Zoo) -> dict[str, Any]:
    """What the page's script reads, as JSON: models by column, their layers by column, their filters as text."""
    models = zoo.dataset.models
    facts: dict[str, Any] = {name: models[name].to_pylist() for name in FACTS}
    everything = np.ones(len(zoo.layers), bool)
    for column in quality.MEASURES:
        facts[column] = _rounded(quality.model_means(zoo.layers, zoo.layers.numbers(column), everything))
    return {"models": facts, "layers": _layers(zoo), "filters": _filters(zoo)}


def _layers(zoo: Zoo) -> dict[str, Any]:
    """Columns of all 3x3 layers that have statistics, by model; `start` tells where each model's begin."""
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


def _filters(zoo: Zoo) -> list[str]:
    """For each model up to SHOWN_FILTERS sampled filters: scaled numbers as 19 letters, a for -1 to s for 1."""
    sample = zoo.sample()
    shown = [""] * len(zoo.dataset.models)
    if not len(sample):
        return shown
    place = pc.index_in(sample["model_id"], zoo.dataset.models["model_id"].combine_chunks()).to_numpy()
    weights = np.nan_to_num(sample["weights"].combine_chunks().flatten().to_numpy().reshape(-1, 9), posinf=0, neginf=0)
    peaks = np.abs(weights).max(axis=1, keepdims=True)
    letters = np.rint(weights / np.where(peaks == 0, 1, peaks) * 9).astype(np.int16)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(shown) + 1))
    for model in range(len(shown)):
        rows = order[starts[model] : starts[model + 1]]
        step = max(1, len(rows) // SHOWN_FILTERS)
        shown[model] = (letters[rows[::step][:SHOWN_FILTERS]] + ord("j")).astype(np.uint8).tobytes().decode("ascii")
    return shown


def _rounded(values: Doubles) -> list[float | None]:
    """Four digits, None for what is undefined."""
    return [None if not np.isfinite(value) else round(float(value), 4) for value in values]
