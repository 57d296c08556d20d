"""A row for every model: its measures, phenotype, and drift from all others."""

from __future__ import annotations

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis.exhibits import Exhibit, query_of, table_of
from filterzoo_analysis.sections import outliers as far_out
from filterzoo_analysis.sections import phenotypes, quality
from filterzoo_analysis.tables.statistics import Ints
from filterzoo_analysis.zoo import Zoo

_NOTES = (
    (
        "Measures: means over a model's 3x3 layers. Drift: from all other models' filters together, in nats; "
        "`expected`: what as many filters drawn from the others would give; `corrected`: the drift without that."
    ),
    "Models without 3x3 filters, and copies of others, are left out.",
    far_out.OUTLIER_RULE,
)


def at_a_glance(zoo: Zoo) -> Exhibit:
    """A row for each model with 3x3 filters, sorted by `model_id`."""
    layers = zoo.layers
    everything = np.ones(len(layers), bool)
    present = np.unique(layers.model)
    state = quality.is_degenerated(layers)
    counts = {
        "layers_3x3": _sums(zoo, np.ones(len(layers)))[present],
        "filters_3x3": _sums(zoo, layers.count.astype(np.float64))[present],
        "degenerated_layers": _sums(zoo, np.nan_to_num(state))[present],
    }
    means = {
        column: quality.model_means(
            layers, zoo.coefficients.entropy if column == "variance_entropy" else layers.numbers(column), everything
        )[present]
        for column in quality.MEASURES
    }
    names = [zoo.dataset.models["model_id"][int(model)].as_py() for model in present]
    far = {row["model_id"]: row for row in far_out.outlier_table(zoo, np.ones(len(layers.models), bool)).to_pylist()}
    kinds = phenotypes.of_models(zoo)
    table = table_of(
        {
            "model_id": names,
            **counts,
            **means,
            "phenotype": [kinds.get(name) for name in names],
            "drift": [far[name]["drift"] if name in far else None for name in names],
            "expected": [far[name]["expected"] if name in far else None for name in names],
            "corrected": [far[name]["corrected"] if name in far else None for name in names],
            "outlier": [far[name]["outlier"] if name in far else None for name in names],
            "because": [far[name]["because"] if name in far else None for name in names],
        }
    )
    outliers = [
        f"{name.partition('@')[0]} ({far[name]['because']})" for name in names if name in far and far[name]["outlier"]
    ]
    return Exhibit(
        name="models_at_a_glance",
        title="Each model at a glance",
        summary=_summary(len(names), int(np.isfinite(state).sum()), int(np.nansum(state)), outliers),
        table=table,
        query=query_of(zoo, "each_model.at_a_glance"),
        notes=_NOTES,
    )


def _sums(zoo: Zoo, values: Doubles) -> Ints:
    """(models,): sums of `values` over the layers of each model."""
    return np.rint(np.bincount(zoo.layers.model, weights=values, minlength=len(zoo.layers.models))).astype(np.int64)


def _summary(models: int, layers: int, degenerated: int, outliers: list[str]) -> str:
    far = "none lies far from the others" if not outliers else f"far from the others: {'; '.join(outliers[:10])}"
    degenerated_layers = f"{degenerated:,} of {counted(layers, 'layer')} degenerated"
    return f"{counted(models, 'model')} with 3x3 filters; {degenerated_layers}; {far}."
