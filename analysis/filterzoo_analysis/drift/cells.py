"""Histograms summed by model and group, the units of resampling and of comparison."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from filterzoo.layers.layer import Counts, Doubles
from filterzoo_analysis.filters.variants import Coefficients
from filterzoo_analysis.tables.statistics import DECILES, Bools, Ints, Layers, depth_decile


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """The group of each layer. group: (n,), -1 for none. labels: the names of the groups."""

    by: str
    group: Ints
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Histograms of each model's filters in each group: cell i belongs to model `model[i]` and group `group[i]`.

    histogram: float64 (cells, 9 * 70) counts. labels: names of the groups. weights, bin_width: those of the drift.
    """

    by: str
    labels: tuple[str, ...]
    model: Ints
    group: Ints
    histogram: Doubles
    weights: Doubles
    bin_width: float

    def members(self, group: int) -> Ints:
        """The cells of a group."""
        return np.flatnonzero(self.group == group)

    def models(self) -> list[int]:
        """The number of models of each group."""
        return [len(self.members(group)) for group in range(len(self.labels))]

    def largest_shares(self) -> list[float]:
        """The share of each group's filters that come from its largest model."""
        width = self.histogram.shape[1] // 9
        sizes = self.histogram[:, :width].sum(axis=1)
        return [
            float(sizes[members].max() / sizes[members].sum()) for members in map(self.members, range(len(self.labels)))
        ]

    def by_models(self) -> Doubles:
        """(groups, 9 * 70): each group's distribution with equal weights for its models."""
        width = self.histogram.shape[1] // 9
        shares = self.histogram / self.histogram[:, :width].sum(axis=1, keepdims=True)
        return np.stack([shares[self.members(group)].sum(axis=0) for group in range(len(self.labels))])

    def filters(self) -> list[int]:
        """The number of filters of each group."""
        width = self.histogram.shape[1] // 9
        return [int(self.histogram[self.members(group), :width].sum()) for group in range(len(self.labels))]


def by_model(layers: Layers, by: str, values: Sequence[str | None]) -> Grouping:
    """Groups by a value for each row of `models`. Models without a value are in no group."""
    labels = tuple(sorted({value for value in values if value is not None}))
    place: dict[str | None, int] = {label: number for number, label in enumerate(labels)}
    of_model = np.array([place.get(value, -1) for value in values], np.int64)
    return Grouping(by, of_model[layers.model] if len(of_model) else np.zeros(0, np.int64), labels)


def by_each_model(layers: Layers, chosen: Bools) -> Grouping:
    """A group for each chosen model. chosen: (models,)."""
    names = layers.models["model_id"].to_pylist()
    return by_model(layers, "model", [name if keep else None for name, keep in zip(names, chosen, strict=True)])


def by_model_column(layers: Layers, column: str) -> Grouping:
    """Groups by a column of `models`."""
    values = layers.models[column].to_pylist()
    return by_model(layers, column, [None if value is None else str(value) for value in values])


def by_family(layers: Layers) -> Grouping:
    """Groups by architecture family."""
    names = layers.models["architecture"].to_pylist()
    return by_model(layers, "architecture family", [None if name is None else family(name) for name in names])


def family(architecture: str) -> str:
    """`tf_efficientnet_b0` -> `efficientnet`: the first word of more than four letters, else the longest."""
    words = re.findall(r"[a-z]+", architecture.lower())
    return next((word for word in words if len(word) > 4), max(words, key=len, default=architecture))


def by_depth(layers: Layers) -> Grouping:
    """Groups by decile of relative depth."""
    return Grouping("depth", depth_decile(layers.numbers("conv_depth_norm")), DECILES)


def cells_of(layers: Layers, coefficients: Coefficients, grouping: Grouping, rows: Bools | None = None) -> Cells:
    """Sum the layers' histograms by model and group, without empty groups. rows: (n,), the layers to use, or all."""
    chosen = (grouping.group >= 0) & (coefficients.histogram[:, 0].sum(axis=1) > 0)
    if rows is not None:
        chosen &= rows
    picked = np.flatnonzero(chosen)
    keys = grouping.group[picked] * max(1, len(layers.models)) + layers.model[picked]
    order = np.argsort(keys, kind="stable")
    cells, starts = np.unique(keys[order], return_index=True)
    summed = _summed(coefficients.histogram, picked[order], starts)
    group = cells // max(1, len(layers.models))
    present = np.unique(group)
    return Cells(
        by=grouping.by,
        labels=tuple(grouping.labels[number] for number in present),
        model=cells % max(1, len(layers.models)),
        group=np.searchsorted(present, group),
        histogram=summed,
        weights=coefficients.weights,
        bin_width=coefficients.bin_width,
    )


def _summed(histogram: Counts, rows: Ints, starts: Ints) -> Doubles:
    """Sums of the histograms of rows[starts[i]:starts[i + 1]], as float64 (cells, 630); counts below 2^53 are exact."""
    flat = histogram.reshape(len(histogram), histogram.shape[1] * histogram.shape[2])
    summed = np.zeros((len(starts), flat.shape[1]))
    for cell, (start, end) in enumerate(pairwise([*starts, len(rows)])):
        flat[rows[start:end]].sum(axis=0, dtype=np.float64, out=summed[cell])
    return summed
