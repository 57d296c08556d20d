"""Exhibits of drift between groups: heat map, ridge plot and box plot, the same for every section."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.drift.cells import Cells
from filterzoo_analysis.drift.density import kernel_density
from filterzoo_analysis.drift.uncertainty import FEWEST_MODELS, RATE, DriftMatrix, distributions
from filterzoo_analysis.exhibits import WIDE, Answer, Exhibit, interval, shown, table_of
from filterzoo_analysis.filters.variants import Variant
from filterzoo_analysis.zoo import Zoo

MOST_OF_A_GROUP = 0.5
"""A model with a larger share of a group's filters dominates the group."""
_FEW_GROUPS = 6
"""Up to so many groups the drifts of all pairs are drawn with their intervals, beside the matrix."""
LARGEST_MATRIX = 40
"""Largest number of groups in a matrix: those with the most models."""


def heat_map(
    zoo: Zoo,
    matrix: DriftMatrix,
    name: str,
    title: str,
    query: str,
    *,
    answers: tuple[Answer, ...] = (),
    more: Mapping[str, Sequence[Any]] | None = None,
    notes: tuple[str, ...] = (),
    in_order: bool = False,
) -> Exhibit:
    """The matrix with intervals, null distributions and corrected p values, rows sorted by mean drift.

    in_order: the groups have an order of their own and keep it. more: further columns for `pairs_table`, with a value
    for each of its rows.
    """
    table = pairs_table(matrix)
    for column, values in (more or {}).items():
        table = table.append_column(column, pa.array(list(values), from_pandas=True))
    order = np.arange(len(matrix.labels)) if in_order else matrix.order
    labels = _labels(matrix.labels, matrix.models.tolist())
    labels = [labels[i] for i in order]
    pairs = _pairs(matrix) if 1 < len(labels) <= _FEW_GROUPS else None
    height = max(2.2 + 0.42 * len(labels), 1.2 + 0.26 * len(pairs[0]) if pairs else 0.0)
    return Exhibit(
        name=name,
        title=title,
        summary=_summary(matrix),
        table=table,
        query=query,
        draw=partial(
            figures.heat_map,
            labels=labels,
            values=matrix.drift[np.ix_(order, order)],
            marked=matrix.stands_out[np.ix_(order, order)],
            pairs=pairs,
        ),
        size=(WIDE, min(13.0, height)),
        notes=(
            _note(matrix),
            *_weight_note(matrix),
            *notes,
            f"Variant {zoo.coefficients.variant}. Colours are the same in every matrix: from 0.01 to 10 nats.",
        ),
        answers=answers,
    )


def _pairs(matrix: DriftMatrix) -> tuple[list[str], Doubles, Doubles]:
    """Of each pair, by descending drift: its name, starred if it stands out; (3, n) drift, low, high; (n,) expected."""
    first, second = np.triu_indices(len(matrix.labels), 1)
    order = np.argsort(-matrix.drift[first, second], kind="stable")
    first, second = first[order], second[order]
    names = [
        f"{figures.short(matrix.labels[i], 24)} / {figures.short(matrix.labels[j], 24)}"
        f"{'*' if matrix.stands_out[i, j] else ''}"
        for i, j in zip(first, second, strict=True)
    ]
    found = np.stack([each[first, second] for each in (matrix.drift, matrix.low, matrix.high)])
    return names, found, matrix.expected[first, second]


def pairs_table(matrix: DriftMatrix) -> pa.Table:
    """A row for each pair: drift, interval, mean of the null distribution and its share, p and q."""
    first, second = np.triu_indices(len(matrix.labels), 1)
    drift, null = matrix.drift[first, second], matrix.null[first, second]
    share = np.divide(null, drift, out=np.full_like(drift, np.nan), where=drift > 0)
    return table_of(
        {
            "first": [matrix.labels[i] for i in first],
            "second": [matrix.labels[i] for i in second],
            "first_models": matrix.models[first],
            "second_models": matrix.models[second],
            "first_filters": matrix.filters[first],
            "second_filters": matrix.filters[second],
            "first_largest_share": matrix.largest_share[first],
            "second_largest_share": matrix.largest_share[second],
            "drift": drift,
            "low": matrix.low[first, second],
            "high": matrix.high[first, second],
            "expected": matrix.expected[first, second],
            "corrected": np.maximum(drift - matrix.expected[first, second], 0.0),
            "drift_by_models": matrix.by_models[first, second],
            "null_mean": null,
            "null_share": np.minimum(share, 1.0),
            "p": matrix.p[first, second],
            "q": matrix.q[first, second],
            "few_models": np.minimum(matrix.models[first], matrix.models[second]) < FEWEST_MODELS,
        }
    )


def ridge(zoo: Zoo, cells: Cells, name: str, title: str, query: str) -> Exhibit:
    """Distributions of the nine coefficients, a row for each group."""
    groups = len(cells.labels)
    totals = np.stack([cells.histogram[cells.members(group)].sum(axis=0) for group in range(groups)])
    shares = distributions(totals, cells.bin_width)
    smooth = kernel_density(totals.reshape(groups, 9, -1), zoo.coefficients.edges)
    edges = zoo.coefficients.edges
    centres = (edges[1:] + edges[:-1]) / 2
    models = cells.models()
    labels = _labels(cells.labels, models)
    letter = "d" if zoo.coefficients.variant is Variant.FIXED else "c"
    names = [f"{letter}{i}  {weight:.0%}" for i, weight in enumerate(cells.weights)]
    return Exhibit(
        name=name,
        title=title,
        summary=_ridge_summary(cells.labels, shares, centres),
        table=table_of(
            {
                "group": np.repeat(cells.labels, 9 * len(centres)),
                "component": np.tile(np.repeat(np.arange(9), len(centres)), groups),
                "bin_low": np.tile(edges[:-1], 9 * groups),
                "bin_high": np.tile(edges[1:], 9 * groups),
                "filters": totals.astype(np.int64).ravel(),
                "kernel_density": smooth.ravel(),
            }
        ),
        query=query,
        draw=partial(figures.ridges, labels=labels, bins=(shares / cells.bin_width, edges), smooth=smooth, names=names),
        size=(WIDE, 1.2 + 0.42 * max(2, groups)),
        notes=(
            f"Variant {zoo.coefficients.variant}; above each column its weight in the drift.",
            "Filled: bins. Lines: kernel density estimates of the binned filters (normal kernel, Scott's bandwidth).",
        ),
    )


def boxes(matrices: dict[str, DriftMatrix], query: str, answers: tuple[Answer, ...]) -> Exhibit:
    """Box plots of the drifts in each matrix's strict upper triangle."""
    found = {name: matrix.upper for name, matrix in matrices.items() if len(matrix.upper)}
    rows = {name: [float(f(values)) for f in _STATISTICS.values()] for name, values in found.items()}
    summary = "; ".join(f"{name}: mean {values[0]:.3f}, largest {values[-1]:.3f}" for name, values in rows.items())
    columns = {statistic: [row[i] for row in rows.values()] for i, statistic in enumerate(_STATISTICS)}
    return Exhibit(
        name="drift_boxes",
        title="Drift within each grouping",
        summary=f"{summary}.",
        table=table_of({"by": list(found), "pairs": [len(values) for values in found.values()], **columns}),
        query=query,
        draw=partial(figures.boxes, samples=found, label="drift, nats"),
        size=(WIDE, 4),
        answers=answers,
    )


def largest(cells: Cells, groups: int = LARGEST_MATRIX) -> Cells:
    """The cells of the groups with the most models, at most `groups` of them."""
    if len(cells.labels) <= groups:
        return cells
    models = np.array(cells.models())
    kept = np.sort(np.argsort(-models, kind="stable")[:groups])
    rows = np.isin(cells.group, kept)
    return Cells(
        cells.by,
        tuple(cells.labels[i] for i in kept),
        cells.model[rows],
        np.searchsorted(kept, cells.group[rows]),
        cells.histogram[rows],
        cells.weights,
        cells.bin_width,
    )


_STATISTICS: dict[str, Callable[[Doubles], Any]] = {
    "mean": np.mean,
    "lower_quartile": lambda values: np.quantile(values, 0.25),
    "median": np.median,
    "upper_quartile": lambda values: np.quantile(values, 0.75),
    "largest": np.max,
}


def _labels(names: Sequence[str], models: Sequence[int]) -> list[str]:
    """The labels of groups, with their numbers of models, and a mark if they are few; plain if each is one model."""
    if max(models, default=0) <= 1:
        return [figures.short(name, 34) for name in names]
    few = ("†" if each < FEWEST_MODELS else "" for each in models)
    return [f"{figures.short(name, 24)} ({n}{mark})" for name, n, mark in zip(names, models, few, strict=True)]


def _summary(matrix: DriftMatrix) -> str:
    upper = matrix.upper
    if not len(upper):
        return "One group only: nothing to compare."
    first, second = np.triu_indices(len(matrix.labels), 1)
    most = int(np.argmax(upper))
    a, b = int(first[most]), int(second[most])
    value, chance = float(matrix.drift[a, b]), float(matrix.null[a, b])
    drift = interval(value, float(matrix.low[a, b]), float(matrix.high[a, b]))
    null = chance / value if np.isfinite(chance) and value > 0 else None
    share = "" if null is None else f"; exchanging models at random gives {shown(100 * min(null, 1), 0)} % of it"
    share += f"; as few filters of one distribution would give {shown(float(matrix.expected[a, b]))}"
    return (
        f"Mean drift {upper.mean():.3f}, median {np.median(upper):.3f}; largest {drift} between "
        f"{matrix.labels[a]} and {matrix.labels[b]}{share}."
    )


def _note(matrix: DriftMatrix) -> str:
    if max(matrix.models, default=0) <= 1:
        return f"{counted(len(matrix.upper), 'pair')} of single models: without intervals and tests."
    tested = int(np.isfinite(matrix.p[np.triu_indices(len(matrix.labels), 1)]).sum())
    out = int(matrix.stands_out[np.triu_indices(len(matrix.labels), 1)].sum())
    return (
        f"{counted(len(matrix.upper), 'pair')}, {tested} of them tested (groups of {FEWEST_MODELS} models or more); "
        f"{out} stand out (*: q <= {RATE}, Benjamini-Hochberg over the matrix). In brackets: models; † fewer than "
        f"{FEWEST_MODELS}, no interval. Intervals: 95 %, models drawn again; they are corrected for "
        "what few models add to a drift, wider for few, and may lie below it. The null exchanges models between the "
        "two groups."
    )


def _weight_note(matrix: DriftMatrix) -> tuple[str, ...]:
    names = [
        f"{figures.short(label)} {share:.0%}"
        for label, share, models in zip(matrix.labels, matrix.largest_share, matrix.models, strict=True)
        if share >= MOST_OF_A_GROUP and models > 1
    ]
    if not names:
        return ()
    return (
        (
            f"One model supplies most filters of {counted(len(names), 'group')} ({', '.join(names[:12])}): what is "
            "drawn is mostly about those models. `drift_by_models` in the table weighs all models of a group the same."
        ),
    )


def _ridge_summary(labels: tuple[str, ...], shares: Doubles, centres: Doubles) -> str:
    means = shares[:, 0] @ centres
    spread = np.sqrt(np.maximum(shares[:, 0] @ centres**2 - means**2, 0))
    parts = [f"{label} {mean:+.2f} ± {width:.2f}" for label, mean, width in zip(labels, means, spread, strict=True)]
    return "First coefficient, mean and standard deviation: " + "; ".join(parts[:12]) + "."
