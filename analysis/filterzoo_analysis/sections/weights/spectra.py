"""Spectral measures of layers by depth: stable and effective rank, and the tail of the spectrum."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.exhibits import WIDE, Exhibit, query_of, shown, table_of
from filterzoo_analysis.sections.weights.rows import over_models, rows_of
from filterzoo_analysis.tables.statistics import DECILES
from filterzoo_analysis.zoo import Zoo

_MEASURES = {
    "stable_rank": "stable rank / full rank",
    "effective_rank": "effective rank / full rank",
    "power_law_alpha": "power law, alpha (no unit)",
}
_POINTWISE, _SPATIAL = "1x1", "larger kernels"


def by_depth(zoo: Zoo) -> Exhibit | None:
    """The measures by decile of depth, separately for pointwise layers; None if no layer has a spectrum."""
    rows = rows_of(zoo, "spectral_norm")
    if not len(rows.table):
        return None
    pointwise = np.array([set(kernel.split("x")) == {"1"} for kernel in rows.words("kernel")], bool)
    shapes = rows.table["shape"].to_pylist()
    full = np.array([min(shape[0], int(np.prod(shape[1:]))) for shape in shapes], np.float64)
    found: list[dict[str, Any]] = []
    panels: dict[str, Any] = {}
    for column, spelled in _MEASURES.items():
        is_rank = column.endswith("rank")
        values = rows.numbers(column) / (full if is_rank else 1.0)
        bounds = (0.0, 1.0) if is_rank else (1.0, np.inf)
        series = {}
        for name, kind in ((_SPATIAL, ~pointwise), (_POINTWISE, pointwise)):
            if not (kind & np.isfinite(values)).any():
                continue
            means = [over_models(values, rows.model, kind & (rows.decile == i), bounds) for i in range(10)]
            found += [{"measure": column, "kernels": name, "decile": DECILES[i]} | mean for i, mean in enumerate(means)]
            series[name] = np.array([[mean[end] for mean in means] for end in ("mean", "low", "high")])
        if series:
            panels[spelled] = {"ticks": DECILES, "series": series, "along": "relative depth"}
    ends = [row for row in found if row["decile"] in {DECILES[0], DECILES[-1]} and row["kernels"] == _SPATIAL]
    summary = "; ".join(f"{row['measure']} {row['decile']} {shown(row['mean'])}" for row in ends)
    return Exhibit(
        name="spectra_by_depth",
        title="Spectra by relative depth",
        summary=f"{counted(len(rows.table), 'layer')}. Mean over models, larger kernels: {summary or 'none'}.",
        table=table_of({key: [row[key] for row in found] for key in found[0]}),
        query=query_of(zoo, "weights.spectra.by_depth"),
        draw=partial(figures.line_panels, panels=panels, label="mean over models"),
        size=(WIDE, 3.8),
        notes=(
            "Ranks are divided by the smaller side of the layer's matrix. Points: means over models, 95 % intervals.",
            "Layers whose spectrum would cost too much have none: the wide ones (docs/measures.md, 3).",
        ),
    )
