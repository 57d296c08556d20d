"""Drift between robust and normal networks of pairs: overall, by training set, for first layers, and by depth."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.drift.cells import Cells, Grouping, cells_of
from filterzoo_analysis.drift.chance import expected_drift
from filterzoo_analysis.drift.uncertainty import HOLLOW, RATE, drift_between, drift_matrix, with_null_share
from filterzoo_analysis.exhibits import WIDE, Answer, Exhibit, interval, query_of, shown, table_of
from filterzoo_analysis.sections import pairs
from filterzoo_analysis.tables.statistics import DECILES, Bools, depth_decile
from filterzoo_analysis.zoo import Zoo

NAMES = ("normal", "robust")
FIRST = "first layer"
_NOTE = (
    "Members of known pairs, pairs in brackets. Intervals draw pairs again, are corrected for what few pairs add to a "
    "drift, and are wider for few; the null exchanges robust and normal within pairs. "
    f"{HOLLOW}"
)
_TWICE = (
    "`drift`: each network once. `drift_per_pair`: a normal network once for each robust one that shares it, as the "
    "paper counts. `expected`: what as many filters drawn from one distribution would give; `corrected`: without it."
)
_COLUMNS = (
    "pairs",
    "robust_models",
    "normal_models",
    "robust_filters",
    "normal_filters",
    "drift",
    "low",
    "high",
    "drift_per_pair",
    "expected",
    "corrected",
    "null_mean",
    "p",
)


def drift(zoo: Zoo) -> Exhibit:
    """Drift between robust and normal members of pairs. Comparisons of the same layers are listed once."""
    rows = [{"of": name, **_comparison(zoo, chosen)} for name, chosen in _choices(zoo).items()]
    rows = with_null_share([row for row in rows if row["drift"] is not None])
    found = np.array([[row[key] for row in rows] for key in ("drift", "low", "high")], dtype=float)
    expected = np.array([row["expected"] for row in rows], dtype=float)
    labels = [f"{row['of']} ({row['pairs']}){'*' if row['q'] <= RATE else ''}" for row in rows]
    summary = "; ".join(
        f"{row['of']} {interval(row['drift'], row['low'], row['high'])}, {shown(row['expected'])} expected of so few "
        "filters"
        for row in rows
        if FIRST not in row["of"] and "depth" not in row["of"]
    )
    return Exhibit(
        name="robust_drift",
        title="Drift between robust and normal networks",
        summary=f"{summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robust.drift.drift"),
        draw=partial(figures.intervals, labels=labels, found=found, label="drift, nats", expected=expected),
        size=(WIDE, 1.2 + 0.25 * len(rows)),
        notes=(
            _NOTE,
            _TWICE,
            f"{counted(len(rows), 'comparison')}; *: q <= {RATE}, Benjamini-Hochberg over them.",
            f"Variant {zoo.coefficients.variant}. Depths leave out the first layer, which has a row of its own.",
        ),
        answers=_answers({row["of"]: row for row in rows}),
    )


def _choices(zoo: Zoo) -> dict[str, Bools]:
    """Name -> layers to compare: all, each training set, and the first layers and depths of each."""
    layers = zoo.layers
    decile = depth_decile(layers.numbers("conv_depth_norm"))
    first = layers.numbers("conv_depth") == 0
    sets = pairs.training_sets(zoo)
    everything = {"all": pairs.in_pairs(zoo)}
    if any((rows == everything["all"]).all() for rows in sets.values()):
        everything = {}
    found = everything | sets
    for name, rows in list(found.items()):
        parts = {f"{name}, {FIRST}": rows & first}
        parts |= {f"{name}, depth {_decile(i)}": rows & ~first & (decile == i) for i in range(10)}
        found |= {part: here for part, here in parts.items() if not (here == rows).all()}
    return found


def _decile(number: int) -> str:
    """The name of a decile without first layers: the first decile is open at 0."""
    return DECILES[number].replace("[0,", "(0,")


def _comparison(zoo: Zoo, rows: Bools) -> dict[str, Any]:
    robust = pairs.is_robust(zoo)
    grouping = Grouping("robust", np.where(rows, robust.astype(np.int64), -1), NAMES)
    cells = cells_of(zoo.layers, zoo.coefficients, grouping)
    if len(cells.labels) < 2:
        return dict.fromkeys(_COLUMNS)
    joined = _as_pairs(zoo, cells)
    matrix = drift_matrix(joined)
    totals = [cells.histogram[cells.members(kind)].sum(axis=0) for kind in range(2)]
    filters, models = cells.filters(), cells.models()
    expected = expected_drift(totals[0] + totals[1], filters[0], filters[1], cells.weights, cells.bin_width)
    value = float(matrix.drift[0, 1])
    return {
        "pairs": int(matrix.models.min()),
        "robust_models": models[1],
        "normal_models": models[0],
        "robust_filters": filters[1],
        "normal_filters": filters[0],
        "drift": value,
        "low": float(matrix.low[0, 1]),
        "high": float(matrix.high[0, 1]),
        "drift_per_pair": _drift_per_pair(zoo, cells),
        "expected": expected,
        "corrected": max(0.0, value - expected),
        "null_mean": float(matrix.null[0, 1]),
        "p": float(matrix.p[0, 1]),
    }


def _drift_per_pair(zoo: Zoo, cells: Cells) -> float:
    """The drift if a normal network is counted once for each robust network of its pair."""
    times = pairs.times(zoo)[cells.model]
    sums = [(times[members, None] * cells.histogram[members]).sum(axis=0) for members in map(cells.members, range(2))]
    return float(drift_between(sums[0], sums[1], cells.weights, cells.bin_width))


def _as_pairs(zoo: Zoo, cells: Cells) -> Cells:
    """The cells with pairs instead of models, so that pairs are resampled and labels exchanged within pairs."""
    names = zoo.dataset.models["pair_id"].to_pylist()
    _, place = np.unique([names[model] for model in cells.model], return_inverse=True)
    keys = cells.group * len(names) + place
    unique, inverse = np.unique(keys, return_inverse=True)
    summed: Doubles = np.zeros((len(unique), cells.histogram.shape[1]))
    np.add.at(summed, inverse, cells.histogram)
    return Cells(
        cells.by, cells.labels, unique % len(names), unique // len(names), summed, cells.weights, cells.bin_width
    )


def _answers(rows: dict[str, dict[str, Any]]) -> tuple[Answer, ...]:
    def ours(of: str, key: str = "drift_per_pair") -> str | None:
        row = next((row for name, row in rows.items() if _plain(name) == of), None)
        return None if row is None else f"{row[key]:.4f}"

    found = [Answer(published, ours(name)) for name, published in papers.ROBUST_DRIFT.items()]
    found += [Answer(published, ours(name, "drift")) for name, published in papers.ROBUST_DRIFT_ONCE.items()]
    found += [Answer(published, ours(f"{name},firstlayer")) for name, published in papers.FIRST_LAYER_DRIFT.items()]
    for name, published in papers.DEEP_DRIFT.items():
        deep = [ours(f"{name},depth{DECILES[i].replace(' ', '')}") for i in (8, 9)]
        found.append(Answer(published, None if None in deep else " / ".join(str(each) for each in deep)))
    return tuple(found)


def _plain(name: str) -> str:
    """`CIFAR-10, first layer` -> `cifar10,firstlayer`; `imagenet1k` and its variants -> `imagenet`."""
    text = name.lower().replace("-", "", 1).replace(" ", "").replace("ilsvrc2012", "imagenet")
    return text.replace("imagenet1k", "imagenet")
