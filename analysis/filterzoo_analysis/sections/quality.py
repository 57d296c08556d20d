"""Quality of layers: sparsity, variance entropy and orthogonality by depth, and degenerated layers."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.drift.uncertainty import HOLLOW, mean_interval
from filterzoo_analysis.exhibits import WIDE, Exhibit, query_of, shown, table_of
from filterzoo_analysis.tables.statistics import DECILES, Bools, Layers, depth_decile
from filterzoo_analysis.zoo import Zoo

MEASURES = {
    "sparsity": "sparsity",
    "variance_entropy": "variance entropy",
    "orthogonality": "orthogonality",
}
UNITS = {"sparsity": "share of filters", "variance entropy": "0 to .954", "orthogonality": "0 to 1"}
"""The unit or range of each measure, by its spelled name, as figures state it."""
BOUNDS = {"sparsity": (0.0, 1.0), "variance_entropy": (0.0, float(np.log10(9))), "orthogonality": (0.0, 1.0)}
"""The range of each measure. Intervals are clipped to it."""
POINTS = (
    "Boxes: layers. Points: means over models with 95 % intervals, models drawn again, wider for few; they end at what "
    "is possible: 0 and 1, of entropy 0 and .954."
)
ONE_IN_TWENTY = "one in twenty misses the mean of all networks by chance alone."
_QUARTILES = (0.25, 0.5, 0.75)
_DEGENERATED = (
    "Degenerated: H >= T_H - 0.02 (looks random), or H < 0.5 and sparsity >= 0.14 (collapsed and sparse). "
    "Bars: 95 % intervals of the mean over models."
)


def by_depth(zoo: Zoo) -> Exhibit:
    """The three measures by decile of depth: boxes over layers, means over models with intervals."""
    rows = np.ones(len(zoo.layers), bool)
    table, panels = measures_by_depth(zoo, {"all models": rows})
    threshold = zoo.layers.numbers("variance_entropy_threshold")
    decile = depth_decile(zoo.layers.numbers("conv_depth_norm"))
    line = [_mean(threshold[decile == number]) for number in range(10)]
    panels["variance entropy"]["all models"]["line"] = line
    ends = {name: (panels[name]["all models"]["mean"][0], panels[name]["all models"]["mean"][-1]) for name in panels}
    summary = "; ".join(
        f"{name} {shown(first)} in the first and {shown(last)} in the last" for name, (first, last) in ends.items()
    )
    return Exhibit(
        name="quality_by_depth",
        title="Quality by relative depth",
        summary=f"Mean over models by decile of depth: {summary}.",
        table=table_of(table | {"mean_threshold": np.tile(line, len(MEASURES))}),
        query=query_of(zoo, "quality.by_depth"),
        draw=partial(
            figures.depth_panels,
            ticks=DECILES,
            panels={f"{spelled}, {UNITS[spelled]}": panel for spelled, panel in panels.items()},
        ),
        size=(WIDE, 4.2),
        notes=(f"{POINTS} {HOLLOW}", f"{counted(len(MEASURES) * 10, 'interval')}: {ONE_IN_TWENTY}"),
    )


def measures_by_depth(zoo: Zoo, series: dict[str, Bools]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(columns of a table, panels of a figure): the measures by depth, for each series: name -> (n,) its layers."""
    layers = zoo.layers
    decile = depth_decile(layers.numbers("conv_depth_norm"))
    rows: list[dict[str, Any]] = []
    panels: dict[str, Any] = {spelled: {} for spelled in MEASURES.values()}
    for column, spelled in MEASURES.items():
        values = zoo.coefficients.entropy if column == "variance_entropy" else layers.numbers(column)
        for name, chosen in series.items():
            found = [_in_decile(layers, values, chosen & (decile == number), BOUNDS[column]) for number in range(10)]
            rows += [
                {"measure": column, "series": name, "decile": DECILES[i], **row} for i, (row, _) in enumerate(found)
            ]
            panels[spelled][name] = {key: np.array([row[key] for row, _ in found]) for key in ("mean", "low", "high")}
            panels[spelled][name]["boxes"] = [sample for _, sample in found]
    return {key: [row[key] for row in rows] for key in rows[0]}, panels


def model_means(layers: Layers, values: Doubles, rows: Bools) -> Doubles:
    """(models,): mean of a measure over each model's layers in `rows`; NaN for models without such layers."""
    known = rows & np.isfinite(values)
    models = len(layers.models)
    counts = np.bincount(layers.model[known], minlength=models)
    sums = np.bincount(layers.model[known], weights=values[known], minlength=models)
    means: Doubles = np.divide(sums, counts, out=np.full(models, np.nan), where=counts > 0)
    return means


def paper_means(zoo: Zoo, column: str, rows: Bools) -> Doubles:
    """(models,): a measure over each model's layers in `rows`, as in arXiv:2204.02481; NaN without such layers.

    Sparsity: share of all filters. Variance entropy: mean over layers, weighted by the number of filters it is computed
    from. Orthogonality: mean over layers, weighted by output channels. The variant defines which filters are sparse and
    which the entropy uses.
    """
    layers, found = zoo.layers, zoo.coefficients
    if column == "sparsity":
        weights = layers.count.astype(np.float64)
        values = np.divide(found.sparse, weights, out=np.full(len(layers), np.nan), where=weights > 0)
    elif column == "variance_entropy":
        values, weights = found.entropy, found.counts.astype(np.float64)
    else:
        values, weights = layers.numbers(column), layers.out_channels()
    known = rows & np.isfinite(values)
    total = np.bincount(layers.model[known], weights=weights[known], minlength=len(layers.models))
    sums = np.bincount(layers.model[known], weights=(values * weights)[known], minlength=len(layers.models))
    means: Doubles = np.divide(sums, total, out=np.full(len(layers.models), np.nan), where=total > 0)
    return means


def degenerated(zoo: Zoo) -> Exhibit:
    """Share of degenerated layers (docs/measures.md, 3), by kind of convolution and depth."""
    layers = zoo.layers
    state = is_degenerated(layers)
    rows, series = _by_kind_and_depth(layers, state)
    known = np.isfinite(state)
    share = state[known].mean() if known.any() else np.nan
    summary = f"{int(np.nansum(state)):,} of {int(known.sum()):,} layers ({shown(100 * share, 1)} %) are degenerated; "
    return Exhibit(
        name="degenerated",
        title="Degenerated layers by kind and depth",
        summary=summary
        + "; ".join(_summary(kind, [row for row in rows if row["kind"] == kind]) for kind in series)
        + ".",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "quality.degenerated"),
        draw=partial(
            figures.lines,
            ticks=DECILES,
            series=series,
            label="mean share of a model's layers",
            along="relative depth",
        ),
        size=(WIDE, 4),
        notes=(f"{_DEGENERATED} {HOLLOW}",),
    )


def _by_kind_and_depth(layers: Layers, state: Doubles) -> tuple[list[dict[str, Any]], dict[str, Doubles]]:
    """Rows by kind and decile of depth; (mean, low, high) of the share by decile, for each kind."""
    kinds = np.array(layers.table["kind"].to_pylist(), dtype=object)
    decile = depth_decile(layers.numbers("conv_depth_norm"))
    rows: list[dict[str, Any]] = []
    series: dict[str, Doubles] = {}
    for kind in sorted(set(kinds)):
        means = [model_means(layers, state, (kinds == kind) & (decile == i)) for i in range(10)]
        found = [mean_interval(values) for values in means]
        for number, (mean, low, high) in enumerate(found):
            here = (kinds == kind) & (decile == number)
            rows.append(
                {
                    "kind": kind,
                    "decile": DECILES[number],
                    "models": int(np.isfinite(means[number]).sum()),
                    "layers": int(np.isfinite(state[here]).sum()),
                    "degenerated": int(np.nansum(state[here])),
                }
                | {"mean_share": mean, "low": low, "high": high}
            )
        series[kind] = np.array(found).T
    return rows, series


def is_degenerated(layers: Layers) -> Doubles:
    """`entropy.is_degenerated` for arrays: 1.0 or 0.0 for each layer, NaN if a measure is undefined."""
    entropy, threshold = layers.numbers("variance_entropy"), layers.numbers("variance_entropy_threshold")
    sparsity = layers.numbers("sparsity")
    with np.errstate(invalid="ignore"):
        found = (entropy >= threshold - 0.02) | ((entropy < 0.5) & (sparsity >= 0.14))
    unknown = ~np.isfinite(entropy) | ~np.isfinite(threshold) | ~np.isfinite(sparsity)
    return np.where(unknown, np.nan, found.astype(np.float64))


def quartiles(sample: Doubles) -> dict[str, float]:
    """The quartiles of a sample; NaN if it is empty."""
    found = np.quantile(sample, _QUARTILES) if len(sample) else np.full(3, np.nan)
    return dict(zip(("lower_quartile", "median", "upper_quartile"), found.tolist(), strict=True))


def _in_decile(
    layers: Layers, values: Doubles, rows: Bools, bounds: tuple[float, float]
) -> tuple[dict[str, Any], Doubles]:
    sample = values[rows & np.isfinite(values)]
    means = model_means(layers, values, rows)
    mean, low, high = mean_interval(means, bounds=bounds)
    row = {"layers": len(sample), "models": int(np.isfinite(means).sum()), "mean": mean, "low": low, "high": high}
    return row | quartiles(sample), sample


def _summary(kind: str, rows: list[dict[str, Any]]) -> str:
    layers, found = sum(row["layers"] for row in rows), sum(row["degenerated"] for row in rows)
    return f"{kind}: {found:,} of {layers:,}"


def _mean(values: Doubles) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
