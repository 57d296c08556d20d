"""Filters of medical models that lie far out beside those of the most usual one, as the paper shows its CompNet."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo_analysis import figures
from filterzoo_analysis.exhibits import Exhibit, query_of, table_of
from filterzoo_analysis.zoo import Zoo

_COLUMNS, _ROWS = 24, 2
"""Filters drawn of a model."""
_MOST = 3
"""Outliers drawn; `medical_outliers` has all."""


def grid(zoo: Zoo) -> Exhibit | None:
    """Sampled filters of the outliers and of the model nearest to the others; None without outliers or samples."""
    from filterzoo_analysis.sections import medical  # noqa: PLC0415  # its section shows this

    table = medical.outlier_table(zoo, medical.is_medical(zoo)).to_pylist()
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
        says="; ".join(f"{name}: {why}" for name, why in shown.items()) + ".",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "outlier_filters.grid"),
        draw=partial(_draw, rows=rows, shown=shown),
        size=(12, (0.52 * _ROWS + 0.3) * len(shown)),
        notes=("Filters as `filters_sample` drew them, from all layers, each on its own scale.",),
    )


def _draw(figure: Any, rows: list[dict[str, Any]], shown: dict[str, str]) -> None:
    parts = np.atleast_1d(figure.subfigures(len(shown), 1))
    for part, (name, why) in zip(parts, shown.items(), strict=True):
        own = np.array([row["weights"] for row in rows if row["model_id"] == name])
        figures.kernels(part, own, (), _COLUMNS)
        part.suptitle(figures.short(f"{name}, {why}", 110), fontsize=9, x=0.01, ha="left")


def _filters(zoo: Zoo, name: str, why: str) -> list[dict[str, Any]]:
    """Evenly spaced ones of the model's sample, by layer and number."""
    sample = zoo.sample()
    own = sample.filter(pc.equal(sample["model_id"], name)) if len(sample) else sample
    if not len(own):
        return []
    own = own.sort_by([("conv_depth_norm", "ascending"), ("layer_id", "ascending"), ("filter_index", "ascending")])
    places = np.unique(np.linspace(0, len(own) - 1, _COLUMNS * _ROWS).astype(np.int64))
    taken = own.take(pa.array(places)).select(["model_id", "layer_id", "filter_index", "conv_depth_norm", "weights"])
    return [row | {"why": why} for row in taken.to_pylist()]
