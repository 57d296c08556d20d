"""Outliers: models with a large drift from the others, corrected for small numbers of filters."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.layers.layer import Doubles
from filterzoo.measures.statistics import FILTER_SIZE
from filterzoo_analysis import figures
from filterzoo_analysis.drift.cells import Cells, by_each_model, cells_of
from filterzoo_analysis.drift.chance import expected_drift
from filterzoo_analysis.drift.uncertainty import distributions, drift_between
from filterzoo_analysis.exhibits import WIDE, Draw, Exhibit, table_of
from filterzoo_analysis.sections import quality
from filterzoo_analysis.tables.statistics import Bools
from filterzoo_analysis.zoo import Zoo

_FAR = 3.5
"""Robust z score above which a model is an outlier (Iglewicz & Hoaglin 1993)."""
_FEWEST = 5
"""Least number of models. Among fewer, no model is an outlier."""
_FEWEST_FILTERS = 1000
"""Least number of filters of an outlier. The drift of fewer filters is mostly sampling noise."""
_COLUMNS, _ROWS = 24, 2
"""Columns and rows of the filters that are drawn of a model."""
_MOST = 3
"""Largest number of outliers that are drawn. `medical_outliers` has all."""
OUTLIER_RULE = (
    f"Outlier: drift from all other models together, less what as many filters of theirs would give (`expected`), that "
    f"lies {_FAR} robust standard deviations (median absolute deviation) above the median; from {_FEWEST} models on, "
    f"and of {_FEWEST_FILTERS:,} filters or more. What distinguishes it: quantised (a stored type of whole "
    "numbers), sparse (mean sparsity of half or more), spiky (a tenth of a coefficient's filters in one bin more than "
    "the others have there)."
)


def outlier_table(zoo: Zoo, chosen: Bools) -> pa.Table:
    """The chosen models by descending drift from all other chosen models together.

    expected: the drift of as many filters drawn from the others. corrected: the drift minus that.
    """
    cells = cells_of(zoo.layers, zoo.coefficients, by_each_model(zoo.layers, chosen))
    total = cells.histogram.sum(axis=0)
    rest = total - cells.histogram
    alone = len(cells.labels) < 2
    drift = (
        np.zeros(len(cells.labels)) if alone else drift_between(cells.histogram, rest, cells.weights, cells.bin_width)
    )
    filters = cells.histogram[:, : cells.histogram.shape[1] // FILTER_SIZE].sum(axis=1).astype(np.int64)
    expected = np.array(
        [
            np.nan if alone else expected_drift(rest[i], int(filters[i]), None, cells.weights, cells.bin_width)
            for i in range(len(drift))
        ]
    )
    corrected = np.maximum(drift - expected, 0.0)
    enough = filters >= _FEWEST_FILTERS
    far = np.zeros(len(drift), bool)
    if enough.sum() >= _FEWEST:
        middle = np.median(corrected[enough])
        spread = 1.4826 * np.median(np.abs(corrected[enough] - middle))
        far = enough & (corrected > middle + _FAR * spread)
    reasons = [_because(zoo, cells, rest, i) if far[i] else None for i in range(len(drift))]
    names = zoo.dataset.models["model_id"].to_pylist()
    order = np.argsort(-drift, kind="stable")
    return table_of(
        {
            "model_id": [names[cells.model[i]] for i in order],
            "filters": filters[order],
            "drift": drift[order],
            "expected": expected[order],
            "corrected": corrected[order],
            "outlier": far[order],
            "because": [reasons[i] for i in order],
        }
    )


def _because(zoo: Zoo, cells: Cells, rest: Doubles, cell: int) -> str:
    own = zoo.layers.model == cells.model[cell]
    types = set(zoo.layers.table.filter(pa.array(own))["dtype"].to_pylist())
    sparsity = quality.model_means(zoo.layers, zoo.layers.numbers("sparsity"), own)[cells.model[cell]]
    shares = distributions(cells.histogram[cell], cells.bin_width) - distributions(rest[cell], cells.bin_width)
    found = []
    if types & {"I8", "U8", "I16", "U16", "I32", "I4", "U4"}:
        found.append("quantised")
    if sparsity >= 0.5:
        found.append(f"sparse ({sparsity:.0%})")
    if shares.max() >= 0.1:
        component, place = np.unravel_index(int(shares.argmax()), shares.shape)
        value = (zoo.coefficients.edges[place] + zoo.coefficients.edges[place + 1]) / 2
        found.append(f"spiky (coefficient {component} at {value:+.2f})")
    return ", ".join(found) or "none of quantised, sparse, spiky"


def drifts_of(rows: pa.Table) -> Draw:
    """Draws the drift of each model of an outlier table, with what as few filters would give."""
    drift, expected = (np.array(rows[name].to_pylist(), dtype=float) for name in ("drift", "expected"))
    unknown = np.full(len(drift), np.nan)
    return partial(
        figures.intervals,
        labels=rows["model_id"].to_pylist(),
        found=np.stack([drift, unknown, unknown]),
        label="drift, nats",
        expected=expected,
    )


def grid(zoo: Zoo, chosen: Bools, query: str) -> Exhibit | None:
    """Sampled filters of outliers among the chosen models, and of the model nearest to the others.

    As the medical paper shows CompNet. None if there are no outliers. query: Python that reproduces the table.
    """
    table = outlier_table(zoo, chosen).to_pylist()
    far = [row for row in table if row["outlier"]][:_MOST]
    usual = [row for row in table if not row["outlier"] and row["filters"] >= _COLUMNS]
    if not far or not usual:
        return None
    shown = {row["model_id"]: f"outlier: {row['because']}" for row in far}
    shown[min(usual, key=lambda row: (row["corrected"], row["model_id"]))["model_id"]] = "nearest to the others"
    rows = [row for name, why in shown.items() for row in _filters(zoo, name, why)]
    if len({row["model_id"] for row in rows}) < len(shown):
        return None
    return Exhibit(
        name="medical_filters",
        title="Filters of medical outliers, and of a usual model",
        summary="; ".join(f"{name}: {why}" for name, why in shown.items()) + ".",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query,
        draw=partial(_draw, rows=rows, shown=shown),
        size=(WIDE, (0.52 * _ROWS + 0.3) * len(shown)),
        notes=("Filters as `filters_sample` drew them, from all layers, each on its own scale.",),
    )


def _draw(figure: Any, rows: list[dict[str, Any]], shown: dict[str, str]) -> None:
    parts = np.atleast_1d(figure.subfigures(len(shown), 1))
    for part, (name, why) in zip(parts, shown.items(), strict=True):
        own = np.array([row["weights"] for row in rows if row["model_id"] == name])
        figures.kernels(part, own, (), _COLUMNS)
        part.suptitle(figures.short(f"{name}, {why}", 110), fontsize=9, x=0.01, ha="left")


def _filters(zoo: Zoo, name: str, why: str) -> list[dict[str, Any]]:
    """Evenly spaced filters of the model's sample, sorted by layer and index."""
    sample = zoo.sample()
    own = sample.filter(pc.equal(sample["model_id"], name)) if len(sample) else sample
    if not len(own):
        return []
    own = own.sort_by([("conv_depth_norm", "ascending"), ("layer_id", "ascending"), ("filter_index", "ascending")])
    places = np.unique(np.linspace(0, len(own) - 1, _COLUMNS * _ROWS).astype(np.int64))
    taken = own.take(pa.array(places)).select(["model_id", "layer_id", "filter_index", "conv_depth_norm", "weights"])
    return [row | {"why": why} for row in taken.to_pylist()]
