"""Sparsity, entropy and orthogonality of robust and normal networks of pairs, by training set and depth."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.drift.uncertainty import HOLLOW, mean_interval
from filterzoo_analysis.exhibits import WIDE, Exhibit, interval, query_of, table_of
from filterzoo_analysis.sections import pairs, quality
from filterzoo_analysis.tables.statistics import DECILES, Bools, depth_decile
from filterzoo_analysis.zoo import Zoo

BINS = ("first layer", "(0, .1]", *DECILES[1:])
"""Bins of depth. The first layer is a bin of its own and not part of the first decile, as in the paper."""
_ALL = "all"
_WEIGHTS = (
    "Of a model: sparsity is the share of its filters, entropy weighted by the filters it is of, orthogonality by "
    "output channels, as in the paper; boxes and means are over models. `mean_per_pair`: a normal network once for "
    "each robust one that shares it."
)


def measures(zoo: Zoo) -> Exhibit:
    """The three measures of both members of pairs, by training set and depth."""
    robust, times = pairs.is_robust(zoo), pairs.times(zoo)
    place = _bins(zoo)
    rows: list[dict[str, Any]] = []
    panels: dict[str, Any] = {}
    sets = _sets(zoo)
    for column, spelled in quality.MEASURES.items():
        for name, chosen in sets.items():
            panel: dict[str, Any] = {}
            for kind, members in (("normal", chosen & ~robust), ("robust", chosen & robust)):
                found = [_of_bin(zoo, column, members & (place == number), times) for number in range(len(BINS))]
                rows += [
                    {"training_dataset": name, "measure": column, "series": kind, "depth": BINS[i], **row}
                    for i, (row, _) in enumerate(found)
                ]
                panel[kind] = {key: np.array([row[key] for row, _ in found]) for key in ("mean", "low", "high")}
                panel[kind]["boxes"] = [sample for _, sample in found]
            panels[f"{spelled} ({quality.UNITS[spelled]}), {figures.short(name, 20)}"] = panel
    return Exhibit(
        name="robust_measures",
        title="Quality of robust and normal networks by training set and depth",
        summary=_summary(rows),
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robust.measures.measures"),
        draw=partial(figures.depth_panels, ticks=BINS, panels=panels, columns=len(sets)),
        size=(max(WIDE, 4.3 * len(sets)), 3.6 * len(quality.MEASURES)),
        notes=(
            f"Members of pairs. Points: means with 95 % intervals, models drawn again. {HOLLOW}",
            _WEIGHTS,
            f"{counted(len(rows), 'interval')}: {quality.ONE_IN_TWENTY}",
        ),
    )


def differences(zoo: Zoo) -> Exhibit:
    """Robust minus normal member of each pair, for each measure: mean over pairs, by training set."""
    rows: list[dict[str, Any]] = []
    for name, chosen in _sets(zoo).items():
        for column in quality.MEASURES:
            values = _pair_differences(zoo, column, chosen)
            mean, low, high = mean_interval(values, bounds=(-1.0, 1.0))
            rows.append(
                {"training_dataset": name, "measure": column, "pairs": len(values), "difference": mean}
                | {"low": low, "high": high}
            )
    found = np.array([[row[key] for row in rows] for key in ("difference", "low", "high")], dtype=float)
    labels = [f"{row['training_dataset']}: {row['measure']} ({row['pairs']})" for row in rows]
    summary = "; ".join(f"{label} {interval(*found[:, i])}" for i, label in enumerate(labels))
    return Exhibit(
        name="robust_differences",
        title="Robust minus normal, by training set",
        summary=f"Mean difference within pairs: {summary}. An interval that holds zero shows no difference.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robust.measures.differences"),
        draw=partial(figures.intervals, labels=labels, found=found, label="robust minus normal"),
        size=(WIDE, 1.2 + 0.3 * len(rows)),
        notes=(f"In brackets: pairs. {_WEIGHTS.partition(';')[0]}. {HOLLOW}",),
    )


def _sets(zoo: Zoo) -> dict[str, Bools]:
    return pairs.training_sets(zoo) or {_ALL: pairs.in_pairs(zoo)}


def _bins(zoo: Zoo) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """(n,) index in BINS."""
    decile = depth_decile(zoo.layers.numbers("conv_depth_norm"))
    return np.where(zoo.layers.numbers("conv_depth") == 0, 0, decile + 1)


def _of_bin(zoo: Zoo, column: str, rows: Bools, times: Doubles) -> tuple[dict[str, Any], Doubles]:
    means = quality.paper_means(zoo, column, rows)
    known = np.isfinite(means)
    sample, weights = means[known], times[known]
    mean, low, high = mean_interval(sample, bounds=quality.BOUNDS[column])
    per_pair = float(np.average(sample, weights=weights)) if len(sample) else np.nan
    row = {"layers": int(rows.sum()), "models": len(sample), "mean": mean, "low": low, "high": high}
    return row | {"mean_per_pair": per_pair} | quality.quartiles(sample), sample


def _pair_differences(zoo: Zoo, column: str, rows: Bools) -> Doubles:
    """A value for each pair_id: mean of its robust members minus mean of its normal members."""
    values = quality.paper_means(zoo, column, rows)
    models = zoo.dataset.models
    robust = np.array([each is True for each in models["robust"].to_pylist()])
    names = np.array([each or "" for each in models["pair_id"].to_pylist()])
    known = np.isfinite(values)
    found = []
    for name in np.unique(names[known]):
        here = known & (names == name)
        if (here & robust).any() and (here & ~robust).any():
            found.append(values[here & robust].mean() - values[here & ~robust].mean())
    return np.array(found)


def _summary(rows: list[dict[str, Any]]) -> str:
    """A summary of the deepest bin that has models, by training set."""
    sentences = []
    for name in dict.fromkeys(row["training_dataset"] for row in rows):
        parts = []
        for column in quality.MEASURES:
            here = [r for r in rows if r["training_dataset"] == name and r["measure"] == column and r["models"]]
            last = {row["series"]: row for row in here if row["depth"] == here[-1]["depth"]} if here else {}
            parts += [f"{column} {kind} {interval(row['mean'], row['low'], row['high'])}" for kind, row in last.items()]
        sentences.append(f"{name}: {', '.join(parts)}")
    return f"Mean over models of the deepest layers ({rows[-1]['depth']}): {'; '.join(sentences)}."
