"""Finds networks whose weights are closer than those of independent ones: probably one was fine-tuned from another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from filterzoo import temporary
from filterzoo.temporary import failing_by_name
from filterzoo_publish.lineage.families import Loadable, compared
from filterzoo_publish.lineage.nearest import (
    FEWEST_LAYERS,
    FEWEST_NUMBERS,
    NEAR_MOMENTS,
    NEAR_WEIGHTS,
    Doubles,
    Family,
    Ints,
    nearest,
)
from filterzoo_publish.lineage.stored import StoredLayers

_NEAREST = 5
"""Largest number of relatives of a network: all networks that were fine-tuned from the same one are close."""
_CACHE_KB = 16_000
_TABLE = """CREATE TABLE near (
    model INTEGER, decisive REAL, first INTEGER, second INTEGER, weights REAL, moments REAL, direction REAL
)"""
_CHOSEN = """
SELECT first, second, weights, moments, direction, max(model) FROM (
    SELECT *, row_number() OVER (PARTITION BY model ORDER BY decisive, first, second) AS place FROM near
) WHERE place <= ? GROUP BY first, second ORDER BY first, second
"""


def inferred_rows(layers: Iterable[pa.Table]) -> Iterator[dict[str, Any]]:
    """A row, without its kind, for each two networks that are near; `other` has the larger kurtosis.

    layers: `table.LAYER_COLUMNS`, in any order, each once. Layers are compared that stand at matching places with equal
    shapes (`families.compared`). Bitwise equal layers are left out: they are shared, and no evidence about others.
    """
    stored = StoredLayers()
    for table in layers:
        stored.add(table)
    yield from rows_of_families(stored.families())


def rows_of_families(families: Sequence[Loadable]) -> Iterator[dict[str, Any]]:
    """The rows of networks in families of equal shapes, by the names of the two; what is found is on the disk."""
    names = sorted(name for family in families for name in family.names)
    numbers = {name: number for number, name in enumerate(names)}
    with failing_by_name(), contextlib.closing(temporary.table(_TABLE, _CACHE_KB)) as database:
        for family, first in compared(families):
            own = [numbers[name] for name in family.names]
            for model, others in enumerate(nearest(family)):
                places = others[(others < first) != (model < first)] if first else others
                if len(places):
                    found = _nearest_of(family, model, places, own)
                    database.executemany("INSERT INTO near VALUES (?, ?, ?, ?, ?, ?, ?)", found)
        for one, two, *numbers_of_row, _model in database.execute(_CHOSEN, (_NEAREST,)):
            yield _row(names[one], names[two], *numbers_of_row)


def _nearest_of(family: Family, model: int, others: Ints, numbers: Sequence[int]) -> Iterator[tuple[float | None, ...]]:
    """Rows of `near` for at most _NEAREST of the others, where they are near. numbers: of the networks, in all."""
    weights, moments = _distances(family, model, others)
    decisive = np.where(np.isfinite(weights), weights / NEAR_WEIGHTS, moments / NEAR_MOMENTS)
    near = [place for place in np.argsort(decisive, kind="stable") if decisive[place] < 1]
    for place in near[:_NEAREST]:
        first, second = sorted((model, int(others[place])), key=numbers.__getitem__)
        distances = (float(one) if np.isfinite(one) else None for one in (weights[place], moments[place]))
        direction = _direction(family, first, second)
        yield numbers[model], float(decisive[place]), numbers[first], numbers[second], *distances, direction


def _direction(family: Family, first: int, second: int) -> float:
    """Mean logarithm of the second's kurtosis over the first's, of the layers that differ; 0 where unknown.

    Kurtosis falls with specialisation (MoTHer, Horwitz et al., ICLR 2025): the larger one is the ancestor.
    """
    own = family.identity[first] != family.identity[second]
    gaps = (np.log(family.kurtosis[second]) - np.log(family.kurtosis[first]))[own]
    gaps = gaps[np.isfinite(gaps)]
    return float(gaps.mean()) if len(gaps) else 0.0


def _row(first: str, second: str, weights: float | None, moments: float | None, direction: float) -> dict[str, Any]:
    model, other = (first, second) if direction >= 0 else (second, first)
    distance = weights if weights is not None else moments
    return {
        "model_id": model,
        "other": other,
        "score": None if distance is None else max(0.0, 1 - distance),
        "weights_distance": weights,
        "moments_distance": moments,
        "direction": abs(direction) if direction else None,
    }


def _distances(family: Family, model: int, others: Ints) -> tuple[Doubles, Doubles]:
    """(k,) distances of the model's weights and mean filters from those of `others`, (k,); NaN where undefined.

    Weights: the mean of |a - b|^2 / (|a|^2 + |b|^2) over layers, weighted by the number of probed weights; a and b are
    the centred probes of a layer. Moments: the mean over 3x3 layers of the squared distance of the mean filters,
    divided by the sum of their variances.
    """
    probes, mean = family.probes[others], family.mean[others]
    differ = family.identity[others] != family.identity[model]
    energy, own = np.square(probes).sum(axis=2), np.square(family.probes[model]).sum(axis=1)
    both = energy + own
    gap = np.square(probes - family.probes[model]).sum(axis=2)
    usable = differ & family.known[others] & family.known[model] & (both > 0)
    counts = np.where(usable, family.sizes, 0)
    ratio = np.divide(gap, both, out=np.zeros_like(gap), where=usable)
    enough = (usable.sum(axis=1) >= FEWEST_LAYERS) & (counts.sum(axis=1) >= FEWEST_NUMBERS)
    weights = np.where(enough, (ratio * counts).sum(axis=1) / np.maximum(1, counts.sum(axis=1)), np.nan)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        gap = np.square(mean - family.mean[model]).sum(axis=2) / (family.noise[others] + family.noise[model])
    usable = differ & np.isfinite(gap)
    total = np.where(usable, gap, 0.0).sum(axis=1)
    moments = np.where(usable.sum(axis=1) >= FEWEST_LAYERS, total / np.maximum(1, usable.sum(axis=1)), np.nan)
    return weights, moments
