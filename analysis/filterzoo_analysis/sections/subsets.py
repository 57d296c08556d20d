"""Principal components of subsets of a data set: eigenimages, explained variance, and its cumulative sum."""

from __future__ import annotations

from functools import partial

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.measures.entropy import principal_components
from filterzoo.measures.statistics import Moments, merge_moments
from filterzoo_analysis import figures
from filterzoo_analysis.drift.uncertainty import FEWEST_MODELS, widened
from filterzoo_analysis.exhibits import WIDE, Exhibit, query_of, shown, table_of
from filterzoo_analysis.sections import pairs
from filterzoo_analysis.tables.statistics import Bools, Ints
from filterzoo_analysis.zoo import Zoo

_REPLICATES = 200
_MOST = 14
"""Largest number of subsets: those with the most models."""
_AXES = ("training_dataset", "visual_category")


def subsets(zoo: Zoo) -> dict[str, Bools]:
    """Name -> (n,) its layers: all, robust and normal members of pairs, each training set and visual category.

    A subset with the same layers as an earlier one is left out. If there are too many, the smallest are left out.
    """
    found = {"all": np.ones(len(zoo.layers), bool)}
    paired, robust = pairs.in_pairs(zoo), pairs.is_robust(zoo)
    found |= {"robust (pairs)": paired & robust, "normal (pairs)": paired & ~robust} if paired.any() else {}
    for column in _AXES:
        values = zoo.dataset.models[column].to_pylist()
        for name in sorted({str(each) for each in values if each is not None}):
            rows = np.array([each == name for each in values], bool)[zoo.layers.model]
            if rows.any() and not any((rows == known).all() for known in found.values()):
                found.setdefault(name, rows)
    models = {name: len(np.unique(zoo.layers.model[rows])) for name, rows in found.items()}
    kept = set(sorted(found, key=lambda name: -models[name])[:_MOST]) | set(list(found)[:3])
    return {name: rows for name, rows in found.items() if name in kept}


def components(zoo: Zoo) -> Exhibit:
    """The nine principal components of each subset as images, with their shares of variance."""
    names, vectors, ratios = [], [], []
    for name, rows in subsets(zoo).items():
        found = principal_components(zoo.coefficients.moments(rows))
        if found is not None:
            names.append(name)
            vectors.append(found.components)
            ratios.append(found.ratio)
    titles = [
        f"{figures.short(name, 22)}\n{share:.1%}" if not i else f"\n{share:.1%}"
        for name, ratio in zip(names, ratios, strict=True)
        for i, share in enumerate(ratio)
    ]
    stacked = np.concatenate(vectors) if vectors else np.zeros((0, 9))
    first = [" ".join(shown(share) for share in ratio[:3]) for ratio in ratios]
    summary = "; ".join(f"{name} {shares}" for name, shares in zip(names, first, strict=True))
    return Exhibit(
        name="subset_components",
        title="Principal components of subsets",
        summary=f"Share of variance of the first three: {summary}.",
        table=table_of(
            {
                "subset": np.repeat(names, 9),
                "component": np.tile(np.arange(9), len(names)),
                "ratio": np.concatenate(ratios) if ratios else np.zeros(0),
                "cumulative": np.concatenate([np.cumsum(each) for each in ratios]) if ratios else np.zeros(0),
                **{f"v{j}": stacked[:, j] for j in range(9)},
            }
        ),
        query=query_of(zoo, "subsets.components"),
        draw=partial(figures.kernels, filters=stacked, titles=titles, columns=9),
        size=(WIDE, 1.68 * max(1, len(names))),
        notes=(
            f"Of the filters of variant {zoo.coefficients.variant}, each subset in its own basis.",
            "A component and its negative are the same. Red and blue are signs; each picture is on its own scale.",
        ),
    )


def cumulative(zoo: Zoo) -> Exhibit:
    """The cumulative explained variance of each subset, with intervals over models."""
    series: dict[str, Doubles] = {}
    for name, rows in subsets(zoo).items():
        found = principal_components(zoo.coefficients.moments(rows))
        if found is not None:
            values = np.cumsum(found.ratio)
            series[name] = np.stack([values, *ratio_intervals(zoo, rows, found.ratio, cumulative=True)])
    summary = "; ".join(f"{name} {shown(values[0, 2])}" for name, values in series.items())
    return Exhibit(
        name="cumulative_variance",
        title="Cumulative explained variance of subsets",
        summary=f"The first three components together: {summary}.",
        table=table_of(
            {
                "subset": np.repeat(list(series), 9),
                "components": np.tile(np.arange(1, 10), len(series)),
                **{
                    name: np.concatenate([values[place] for values in series.values()]) if series else np.zeros(0)
                    for place, name in enumerate(("cumulative", "low", "high"))
                },
            }
        ),
        query=query_of(zoo, "subsets.cumulative"),
        draw=partial(
            figures.lines,
            ticks=[str(number) for number in range(1, 10)],
            series=series,
            label="cumulative share of explained variance",
            along="components",
        ),
        size=(WIDE, 4.6),
        notes=(f"Variant {zoo.coefficients.variant}; bars: 95 % intervals, models drawn again.",),
    )


def ratio_intervals(zoo: Zoo, rows: Bools, ratio: Doubles, *, cumulative: bool = False) -> tuple[Doubles, Doubles]:
    """Intervals of `ratio`, the explained variance ratio of the layers in `rows`, (9,) each, by resampling models.

    NaN below FEWEST_MODELS models. cumulative: intervals of its cumulative sum.
    """
    places = np.flatnonzero(rows)
    names, place = np.unique(zoo.layers.model[places], return_inverse=True)
    if len(names) < FEWEST_MODELS:
        return np.full(9, np.nan), np.full(9, np.nan)
    found = zoo.coefficients
    parts = [
        merge_moments(found.counts[of], found.means[of], found.m2[of])
        for of in (places[place == number] for number in range(len(names)))
    ]
    rng = np.random.default_rng(0)
    drawn = np.array([_ratio(parts, rng.integers(len(names), size=len(names))) for _ in range(_REPLICATES)])
    values = np.cumsum(ratio) if cumulative else ratio
    low, high = widened(np.cumsum(drawn, axis=1) if cumulative else drawn, len(names)).clip(0, 1)
    return np.minimum(low, values), np.maximum(high, values)


def _ratio(parts: list[Moments], drawn: Ints) -> Doubles:
    chosen = [parts[number] for number in drawn]
    merged = merge_moments(
        [part.count for part in chosen], np.stack([p.mean for p in chosen]), np.stack([p.m2 for p in chosen])
    )
    components = principal_components(merged)
    return np.zeros(9) if components is None else components.ratio
