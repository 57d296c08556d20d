"""Finds networks whose weights are closer than those of independent ones: probably one was fine-tuned from another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filterzoo.measures.descent import PROBES
from filterzoo_publish.lineage.families import compared
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

_NEAREST = 5
"""Largest number of relatives of a network: all networks that were fine-tuned from the same one are close."""
_LARGEST_FAMILY = 2000
"""Largest number of networks of equal shapes that are compared pairwise: the first ones by name."""
_Near = tuple[float, tuple[str, str], dict[str, Any]]
"""(decisive distance, below 1; the names of two networks, sorted; their row)."""


def inferred_rows(layers: pa.Table) -> Iterator[dict[str, Any]]:
    """A row, without its kind, for each two networks that are near; `other` has the larger kurtosis.

    layers: `table.LAYER_COLUMNS`, sorted by model and position. Only layers of equal shapes at matching positions are
    compared (`families.compared`). Bitwise equal layers are left out: they are shared, and no evidence about others.
    """
    near: defaultdict[str, list[_Near]] = defaultdict(list)
    for family, first in compared(list(_families(layers))):
        for model, others in enumerate(nearest(family)):
            places = others[(others < first) != (model < first)] if first else others
            if len(places):
                near[family.names[model]] += _nearest_of(family, model, places)
    found = {pair: row for own in near.values() for _, pair, row in sorted(own, key=itemgetter(0, 1))[:_NEAREST]}
    for _, row in sorted(found.items(), key=itemgetter(0)):
        yield row


def _nearest_of(family: Family, model: int, others: Ints) -> Iterator[_Near]:
    """The nearest of the others, at most _NEAREST, if they are near."""
    weights, moments = _distances(family, model, others)
    decisive = np.where(np.isfinite(weights), weights / NEAR_WEIGHTS, moments / NEAR_MOMENTS)
    near = [place for place in np.argsort(decisive, kind="stable") if decisive[place] < 1]
    for place in near[:_NEAREST]:
        first, second = sorted((model, int(others[place])), key=family.names.__getitem__)
        row = _row(family, first, second, float(weights[place]), float(moments[place]))
        yield float(decisive[place]), (family.names[first], family.names[second]), row


def _row(family: Family, first: int, second: int, weights: float, moments: float) -> dict[str, Any]:
    """Kurtosis falls with specialisation (MoTHer, Horwitz et al., ICLR 2025): the network with more is the ancestor."""
    own = family.identity[first] != family.identity[second]
    gaps = (np.log(family.kurtosis[second]) - np.log(family.kurtosis[first]))[own]
    gaps = gaps[np.isfinite(gaps)]
    direction = float(gaps.mean()) if len(gaps) else 0.0
    model, other = (first, second) if direction >= 0 else (second, first)
    return {
        "model_id": family.names[model],
        "other": family.names[other],
        "score": max(0.0, 1 - weights) if np.isfinite(weights) else max(0.0, 1 - moments),
        "weights_distance": weights if np.isfinite(weights) else None,
        "moments_distance": moments if np.isfinite(moments) else None,
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


def _families(layers: pa.Table) -> Iterator[Family]:
    """Groups networks of at least FEWEST_LAYERS layers by the shapes of their layers, in order."""
    ids = np.unique(np.array(layers["layer_id"].to_pylist()), return_inverse=True)[1]
    layers = layers.append_column("identity", pa.array(ids.astype(np.int64)))
    names = layers["model_id"].to_pylist()
    shapes = layers["shape"].to_pylist()
    rows: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        rows[name].append(place)
    groups: defaultdict[tuple[tuple[int, ...], ...], list[str]] = defaultdict(list)
    for name, places in rows.items():
        if len(places) >= FEWEST_LAYERS:
            groups[tuple(tuple(shapes[place]) for place in places)].append(name)
    for shape, members in groups.items():
        kept = sorted(members)[:_LARGEST_FAMILY]
        yield _family(layers.take(pa.array([place for name in kept for place in rows[name]])), kept, shape)


def _family(table: pa.Table, names: list[str], shapes: tuple[tuple[int, ...], ...]) -> Family:
    size = (len(names), len(shapes))
    probes, known = _lists(table["probe"], PROBES)
    sizes = np.array([min(PROBES, int(np.prod(shape))) for shape in shapes])
    held = np.arange(PROBES) < np.tile(sizes, len(names))[:, None]
    counts = np.maximum(1, held.sum(axis=1, keepdims=True))
    probes = np.where(held, probes - np.where(held, probes, 0.0).sum(axis=1, keepdims=True) / counts, 0.0)
    means, has_mean = _lists(table["raw_mean"], 9)
    means[~has_mean] = np.nan
    filters = table["n_finite"].to_numpy().astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        scatter = np.square(table["l2_norm"].to_numpy()) - filters * np.square(means).sum(axis=1)
        noise = np.where(scatter > 0, scatter, np.nan) / filters**2
    return Family(
        names=names,
        identity=table["identity"].to_numpy().reshape(size),
        probes=np.where(known[:, None], probes, 0.0).reshape(*size, PROBES),
        known=known.reshape(size),
        sizes=sizes,
        kurtosis=table["kurtosis"].to_numpy().reshape(size),
        mean=means.reshape(*size, 9),
        noise=noise.reshape(size),
        shapes=shapes,
    )


def _lists(column: pa.ChunkedArray, width: int) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """(n, width) numbers, short lists padded with zeros, and (n,) whether the row is a list without nulls."""
    found, known = np.zeros((len(column), width)), np.zeros(len(column), bool)
    for place, row in enumerate(column.to_pylist()):
        if row is not None and None not in row and len(row) <= width:
            found[place, : len(row)] = row
            known[place] = True
    return found, known
