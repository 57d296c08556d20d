"""Phenotypes of models by the scatter of two coefficients: sun, spike, symbols, point (CVPR 2022), and cross."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.layers.layer import Doubles
from filterzoo.measures.dct import dct_basis
from filterzoo.measures.entropy import principal_components
from filterzoo_analysis import figures
from filterzoo_analysis.exhibits import WIDE, Exhibit, query_of, table_of
from filterzoo_analysis.tables.statistics import Bools
from filterzoo_analysis.zoo import Zoo

RULE = (
    "Rule, ours (the paper names by eye), on a model's sampled scaled filters and their coefficients c0 and c1, the "
    "first that fits: point - half of the filters or more are zeros; symbols - fewer than a quarter of the pairs "
    "(c0, c1), rounded to 1/64, are distinct; spike - one direction holds 90 % of the variance of (c0, c1) or more; "
    "cross - both divided by their standard deviation, 60 % of the outer half lie within 15 degrees of an axis, where "
    "a round cloud has 33 %; the paper has no such name; sun - all others."
)
KINDS = ("sun", "spike", "symbols", "point", "cross")
_CROSS, _NEAR, _FEWEST = 0.6, 15.0, 50
"""For a cross: share of points near an axis, angle that counts as near in degrees, least number of points."""
_SHOWN = 11
"""Number of models drawn, two or three of each phenotype. Another panel shows all filters."""


def scatter(zoo: Zoo) -> Exhibit | None:
    """Density of (c0, c1) for all sampled filters and for examples of each phenotype; None without a sample."""
    sample = _analysed(zoo)
    if not len(sample):
        return None
    named = _clouds(zoo, sample)
    names, clouds = list(named), [cloud for cloud, _ in named.values()]
    kinds = [phenotype(*each) for each in named.values()]
    points = np.concatenate(clouds)
    counts = {kind: kinds.count(kind) for kind in KINDS}
    chosen = _examples(kinds)
    shown = {f"all ({len(points):,})": points} | {f"{kinds[i]}: {_last(names[i])}": clouds[i] for i in chosen}
    table = table_of({"model_id": names, "phenotype": kinds, "filters": [len(cloud) for cloud in clouds]})
    return Exhibit(
        name="phenotypes",
        title="The first two coefficients, and phenotypes",
        summary="Models by phenotype: " + ", ".join(f"{kind} {count:,}" for kind, count in counts.items()) + ".",
        table=table,
        query=query_of(zoo, "phenotypes.scatter"),
        draw=partial(figures.densities, clouds=shown),
        size=(WIDE, 3.3 * -(-len(shown) // 4)),
        notes=(
            RULE,
            "From the table filters_sample, centred by their mean; c0 and c1: coefficients of scaled filters, no unit.",
        ),
    )


def of_models(zoo: Zoo) -> dict[str, str]:
    """model_id -> phenotype, for the models in `filters_sample`."""
    sample = _analysed(zoo)
    return {name: phenotype(*each) for name, each in _clouds(zoo, sample).items()} if len(sample) else {}


def _analysed(zoo: Zoo) -> pa.Table:
    """The sampled filters of the models that are analysed: copies would count twice."""
    names = zoo.dataset.models["model_id"].filter(pa.array(zoo.analysed))
    sample = zoo.sample()
    return sample.filter(pc.is_in(sample["model_id"], value_set=names.combine_chunks()))


def _clouds(zoo: Zoo, sample: pa.Table) -> dict[str, tuple[Doubles, Bools]]:
    """model_id -> `coefficients` of its filters."""
    points, zero = coefficients(zoo, sample)
    encoded = sample["model_id"].combine_chunks().dictionary_encode()
    names, of_model = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    order = np.argsort(of_model, kind="stable")
    starts = np.searchsorted(of_model[order], np.arange(len(names) + 1))
    parts = (order[start:end] for start, end in pairwise(starts))
    return {name: (points[rows], zero[rows]) for name, rows in zip(names, parts, strict=True)}


def coefficients(zoo: Zoo, sample: pa.Table) -> tuple[Doubles, Bools]:
    """((n, 2) coefficients of sampled filters along the first two components, (n,) whether the filter is all zeros).

    Coefficients are centred by the mean of all filters, as in the paper.
    """
    weights = sample["weights"].combine_chunks().flatten().to_numpy().reshape(-1, 9).astype(np.float64)
    weights = np.where(np.isfinite(weights).all(axis=1, keepdims=True), weights, 0.0)
    peaks = np.abs(weights).max(axis=1, keepdims=True)
    scaled = weights / np.where(peaks == 0, 1.0, peaks)
    components = principal_components(zoo.layers.scaled())
    if components is None:
        return scaled @ dct_basis()[:2].T, peaks[:, 0] == 0
    return (scaled - components.mean) @ components.components[:2].T, peaks[:, 0] == 0


def _last(model_id: str) -> str:
    """The distinguishing part of a model's name."""
    return model_id.partition("@")[0].rpartition("/")[2]


def phenotype(points: Doubles, zero: Bools) -> str:
    """The phenotype, by RULE, of a model with points (n, 2)."""
    if zero.mean() >= 0.5:
        return "point"
    if len(np.unique(np.rint(points * 64), axis=0)) < len(points) / 4:
        return "symbols"
    variance = np.linalg.eigvalsh(np.cov(points.T)) if len(points) > 2 else np.ones(2)
    if variance[-1] >= 0.9 * variance.sum() > 0:
        return "spike"
    return "cross" if _along_axes(points) >= _CROSS else "sun"


def _along_axes(points: Doubles) -> float:
    """Share of the outer half of a cloud (n, 2) near an axis, after scaling both coordinates to equal spread."""
    spread = points.std(axis=0)
    if len(points) < _FEWEST or not spread.all():
        return 0.0
    x, y = np.abs((points / spread).T)
    outer = np.hypot(x, y) >= np.median(np.hypot(x, y))
    return float((np.minimum(x, y) <= np.tan(np.radians(_NEAR)) * np.maximum(x, y))[outer].mean())


def _examples(kinds: list[str]) -> list[int]:
    """Indices of some models of each phenotype, rare phenotypes first."""
    groups = sorted(
        ([i for i, kind in enumerate(kinds) if kind == name] for name in set(kinds)),
        key=lambda places: (len(places), places),
    )
    chosen: list[int] = []
    for number, places in enumerate(groups):
        room = (_SHOWN - len(chosen)) // (len(groups) - number)
        step = max(1, len(places) // max(1, room))
        chosen += places[::step][:room]
    return chosen
