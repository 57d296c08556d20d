"""Known pairs of a robust and a normal network, and the drift within each pair."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.drift.chance import expected_drift
from filterzoo_analysis.drift.uncertainty import drift_between
from filterzoo_analysis.exhibits import WIDE, Exhibit, query_of, shown, table_of
from filterzoo_analysis.sections import quality
from filterzoo_analysis.tables.pairing import times_paired
from filterzoo_analysis.tables.statistics import Bools
from filterzoo_analysis.zoo import Zoo

_DRAWN = 40
"""Largest number of pairs in the figure. The table has all."""


def times(zoo: Zoo) -> Doubles:
    """(models,) how often a model is counted in the paper's pairs (`pairing.times_paired`); 0 outside pairs."""
    return times_paired(zoo.dataset.models, zoo.analysed)


def in_pairs(zoo: Zoo) -> Bools:
    """(n,) whether the pair of a layer's model has both a robust and a normal member."""
    found: Bools = times(zoo)[zoo.layers.model] > 0
    return found


def names(zoo: Zoo) -> list[str]:
    """The sorted names of pairs that have layers."""
    known = zoo.dataset.models["pair_id"].to_pylist()
    return sorted({known[model] for model in zoo.layers.model[in_pairs(zoo)]})


def training_sets(zoo: Zoo) -> dict[str, Bools]:
    """Training set -> (n,) which layers belong to models of pairs that were trained on it. Without sets that have none.

    A normal network with an unknown training set has that of the robust network of its pair.
    """
    models = zoo.dataset.models
    stated, pair = models["training_dataset"].to_pylist(), models["pair_id"].to_pylist()
    of_pair = {name: each for name, each in zip(pair, stated, strict=True) if name is not None and each is not None}
    sets = [each if each is not None else of_pair.get(name) for each, name in zip(stated, pair, strict=True)]
    chosen = in_pairs(zoo)
    found = {}
    for name in sorted({each for each in sets if each is not None}):
        rows = np.array([each == name for each in sets])[zoo.layers.model] & chosen
        if rows.any():
            found[name] = rows
    return found


def is_robust(zoo: Zoo) -> Bools:
    """(n,) whether a layer's model is known to be robust."""
    of_model = np.array([value is True for value in zoo.dataset.models["robust"].to_pylist()])
    found: Bools = of_model[zoo.layers.model]
    return found


def each_pair(zoo: Zoo) -> Exhibit:
    """A row for each pair, by descending drift: drift of all and of first layers, and the measures of both members."""
    names = zoo.dataset.models["pair_id"].to_pylist()
    sets = zoo.dataset.models["training_dataset"].to_pylist()
    chosen, robust = in_pairs(zoo), is_robust(zoo)
    first = zoo.layers.numbers("conv_depth") == 0
    spelled, of_model = np.unique([name or "" for name in names], return_inverse=True)
    of_layer = of_model[zoo.layers.model]
    rows: list[dict[str, Any]] = []
    for pair in np.unique(of_layer[chosen]):
        name, here = str(spelled[pair]), chosen & (of_layer == pair)
        row = {"pair_id": name, "training_dataset": sets[zoo.layers.model[here][0]], "drift": _drift(zoo, here, robust)}
        row |= _chance(zoo, here, robust, row["drift"])
        row["first_layer_drift"] = _drift(zoo, here & first, robust)
        for kind, members in (("normal", here & ~robust), ("robust", here & robust)):
            row |= {f"{kind}_{column}": _mean(zoo, column, members) for column in quality.MEASURES}
        rows.append(row)
    rows.sort(key=lambda row: (-np.nan_to_num(row["drift"], nan=-1.0), row["pair_id"]))
    top = [row for row in rows if np.isfinite(row["drift"])][:_DRAWN]
    labels = [
        f"{row['pair_id']}{'' if row['training_dataset'] is None else ', ' + row['training_dataset']}" for row in top
    ]
    drifts = np.array([row["drift"] for row in rows])
    summary = f"drift of robust from normal: median {shown(_median(drifts))}"
    most = f", largest {shown(top[0]['drift'])} ({top[0]['pair_id']})" if top else ""
    return Exhibit(
        name="robust_pairs",
        title="Drift within each pair",
        summary=f"{counted(len(rows), 'pair')}; {summary}{most}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "pairs.each_pair"),
        draw=partial(
            figures.intervals,
            labels=labels,
            found=np.array([[row["drift"], np.nan, np.nan] for row in top]).reshape(-1, 3).T,
            label="drift, nats",
            expected=np.array([row["expected"] for row in top], dtype=float),
        ),
        size=(WIDE, 1.2 + 0.27 * max(3, len(top))),
        notes=(
            f"Two networks each, so no interval. Variant {zoo.coefficients.variant}; measures are means over layers. "
            "`expected`: what as many filters of one distribution would give; `corrected`: the drift without it."
            + (f" The {_DRAWN} largest are drawn." if len(rows) > _DRAWN else ""),
        ),
    )


def _drift(zoo: Zoo, rows: Bools, robust: Bools) -> float:
    """Drift between the robust and the normal layers in `rows`; NaN if one kind has no filters."""
    sums = [zoo.coefficients.histogram[rows & kind].sum(axis=0, dtype=np.float64).ravel() for kind in (robust, ~robust)]
    if any(each.sum() == 0 for each in sums):
        return float("nan")
    return float(drift_between(sums[0], sums[1], zoo.coefficients.weights, zoo.coefficients.bin_width))


def _chance(zoo: Zoo, rows: Bools, robust: Bools, drift: float) -> dict[str, float]:
    """`expected`: the drift between as many filters drawn from both together. `corrected`: the drift minus that."""
    sums = [zoo.coefficients.histogram[rows & kind].sum(axis=0, dtype=np.float64) for kind in (robust, ~robust)]
    filters = [int(each[0].sum()) for each in sums]
    both = (sums[0] + sums[1]).ravel()
    expected = expected_drift(both, filters[0], filters[1], zoo.coefficients.weights, zoo.coefficients.bin_width)
    return {"expected": expected, "corrected": float(np.maximum(drift - expected, 0.0))}


def _mean(zoo: Zoo, column: str, rows: Bools) -> float:
    values = zoo.coefficients.entropy if column == "variance_entropy" else zoo.layers.numbers(column)
    known = values[rows & np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _median(values: Doubles) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
