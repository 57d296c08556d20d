"""Does medical imaging learn different convolution filters? (arXiv:2210.13799) for this data set."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from filterzoo.layers.layer import Doubles
from filterzoo.measures.statistics import FILTER_SIZE
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.drift.cells import Cells, Grouping, by_model, cells_of, family
from filterzoo_analysis.drift.chance import expected_drift
from filterzoo_analysis.drift.uncertainty import (
    HOLLOW,
    RATE,
    distributions,
    drift_between,
    drift_matrix,
    with_null_share,
)
from filterzoo_analysis.exhibits import Answer, Exhibit, Section, counted, query_of, shown, table_of
from filterzoo_analysis.sections import drifts, outlier_filters, quality
from filterzoo_analysis.tables.statistics import Bools
from filterzoo_analysis.zoo import Zoo

_MARK = "medical"
_FAR = 3.5
"""Robust z score (Iglewicz & Hoaglin 1993) from which a model is called an outlier."""
_FEWEST = 5
"""Models below which nothing is called an outlier."""
_FEWEST_FILTERS = 1000
"""Filters below which no model is called one: the drift of fewer is mostly their number."""


def section(zoo: Zoo) -> Section:
    """Medical networks one by one, against each other, and against natural ones of equal architecture."""
    title = "Medical imaging"
    about = "The figures of 'Does Medical Imaging learn different Convolution Filters?' (MedNeurIPS 2022)."
    if not is_medical(zoo)[zoo.layers.model].any():
        reason = "No model is known to be trained on medical images (`visual_category` begins with `medical`)."
        return Section("medical", title, about, (), (reason,))
    exhibits = [ridge(zoo), *(family_drift(zoo, name) for name in families(zoo))]
    empty: list[str] = []
    if not families(zoo):
        empty.append("No drift within an architecture family: none has two models, one of them medical.")
    against = against_natural(zoo)
    if against is None:
        empty.append("No family of architectures has both medical and natural models to compare.")
    else:
        exhibits.append(against)
    exhibits.append(outliers(zoo))
    grid = outlier_filters.grid(zoo)
    exhibits += [] if grid is None else [grid]
    return Section("medical", title, about, tuple(exhibits), tuple(empty))


def is_medical(zoo: Zoo) -> Bools:
    """(models,) whether the visual category is a medical one."""
    return np.array([str(name).startswith(_MARK) for name in zoo.dataset.models["visual_category"].to_pylist()], bool)


def families(zoo: Zoo) -> list[str]:
    """Architecture families of two models or more with a medical one among them."""
    medical, found = is_medical(zoo), _families(zoo)
    present = np.unique(zoo.layers.model)
    members: dict[str, list[int]] = {}
    for model in present:
        if (name := found[model]) is not None:
            members.setdefault(name, []).append(int(model))
    return sorted(name for name, models in members.items() if len(models) > 1 and medical[models].any())


def ridge(zoo: Zoo) -> Exhibit:
    """Distributions of the coefficients of each medical model."""
    cells = drifts.largest(cells_of(zoo.layers, zoo.coefficients, _each_model(zoo, is_medical(zoo))))
    title = "Distributions of the coefficients of medical models"
    return drifts.ridge(zoo, cells, "medical_ridge", title, query_of(zoo, "medical.ridge"))


def family_drift(zoo: Zoo, name: str) -> Exhibit:
    """Drift between the models of an architecture family, medical or not."""
    chosen = np.array([each == name for each in _families(zoo)])
    matrix = drift_matrix(drifts.largest(cells_of(zoo.layers, zoo.coefficients, _each_model(zoo, chosen))), 2)
    answers: tuple[Answer, ...] = ()
    if name in papers.FAMILY_DRIFT:
        answers = (Answer(papers.FAMILY_DRIFT[name], f"{matrix.upper.mean():.3f}; {matrix.upper.max():.3f}"),)
    query = query_of(zoo, "medical.family_drift", name=name)
    title = f"Drift between models of the family {figures.short(name)}"
    return drifts.heat_map(zoo, matrix, f"medical_drift_{_file_name(name)}", title, query, answers=answers)


def against_natural(zoo: Zoo) -> Exhibit | None:
    """Drift between medical and natural models of the same family, with intervals; None where no family has both."""
    medical, found = is_medical(zoo), _families(zoo)
    natural = np.array([name == "natural" for name in zoo.dataset.models["visual_category"].to_pylist()])
    rows: list[dict[str, Any]] = []
    for name in families(zoo):
        here = np.array([each == name for each in found])
        kinds = [
            "medical" if m else "natural" if n else None for m, n in zip(medical & here, natural & here, strict=True)
        ]
        cells = cells_of(zoo.layers, zoo.coefficients, by_model(zoo.layers, "medical", kinds))
        if len(cells.labels) == 2:
            matrix = drift_matrix(cells)
            values = {
                "drift": matrix.drift,
                "low": matrix.low,
                "high": matrix.high,
                "expected": matrix.expected,
                "corrected": np.maximum(matrix.drift - matrix.expected, 0.0),
                "null_mean": matrix.null,
                "p": matrix.p,
            }
            counts = {"medical": int(matrix.models[0]), "natural": int(matrix.models[1])}
            counts |= {"medical_filters": int(matrix.filters[0]), "natural_filters": int(matrix.filters[1])}
            rows.append({"family": name, **counts} | {key: float(value[0, 1]) for key, value in values.items()})
    if not rows:
        return None
    rows = with_null_share(rows)
    points = np.array([[row[key] for row in rows] for key in ("drift", "low", "high")])
    labels = [f"{row['family']} ({row['medical']} / {row['natural']}){'*' if row['q'] <= RATE else ''}" for row in rows]
    told = "; ".join(
        f"{label} {shown(row['drift'])}, {shown(row['expected'])} expected of so few filters"
        for label, row in zip(labels, rows, strict=True)
    )
    return Exhibit(
        name="medical_natural",
        title="Medical against natural models of the same family",
        says=f"Drift: {told}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "medical.against_natural"),
        draw=partial(figures.intervals, labels=labels, found=points, label="drift, nats"),
        size=(7.5, 1.4 + 0.3 * len(rows)),
        notes=(
            f"In brackets: medical / natural models. {HOLLOW}",
            "`expected`: what as many filters drawn from one distribution would give; `corrected`: without it.",
            f"{counted(len(rows), 'comparison')}; *: q <= {RATE}, Benjamini-Hochberg over them.",
            f"Variant {zoo.coefficients.variant}.",
        ),
    )


def outliers(zoo: Zoo) -> Exhibit:
    """Each medical model's drift from all other medical models, and what distinguishes those that lie far out."""
    table = outlier_table(zoo, is_medical(zoo))
    far = [row for row in table.to_pylist() if row["outlier"]]
    told = "; ".join(f"{row['model_id']} (drift {row['drift']:.2f}: {row['because']})" for row in far[:10])
    top = table.slice(0, 30)
    return Exhibit(
        name="medical_outliers",
        title="Medical models by their drift from the others",
        says=f"{len(far)} of {len(table)} models are outliers{': ' + told if far else ''}.",
        table=table,
        query=query_of(zoo, "medical.outliers"),
        draw=partial(
            figures.bars, labels=top["model_id"].to_pylist(), series={"drift, nats": top["drift"].to_pylist()}
        ),
        size=(7.5, 0.9 + 0.27 * max(3, len(top))),
        notes=(OUTLIER_RULE,),
    )


OUTLIER_RULE = (
    f"Outlier: drift from all other models together, less what as many filters of theirs would give (`expected`), that "
    f"lies {_FAR} robust standard deviations (median absolute deviation) above the median; from {_FEWEST} models on, "
    f"and of {_FEWEST_FILTERS:,} filters or more. What distinguishes it: quantised (a stored type of whole "
    "numbers), sparse (mean sparsity of half or more), spiky (a tenth of a coefficient's filters in one bin more than "
    "the others have there)."
)


def outlier_table(zoo: Zoo, chosen: Bools) -> pa.Table:
    """The chosen models by descending drift from the other chosen ones together.

    expected: drift from them of as many filters drawn from them; corrected: the drift without that.
    """
    cells = cells_of(zoo.layers, zoo.coefficients, _each_model(zoo, chosen))
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


def _families(zoo: Zoo) -> list[str | None]:
    return [None if name is None else family(name) for name in zoo.dataset.models["architecture"].to_pylist()]


def _each_model(zoo: Zoo, chosen: Bools) -> Grouping:
    """Every chosen model a group of its own."""
    names = zoo.dataset.models["model_id"].to_pylist()
    return by_model(zoo.layers, "model", [name if keep else None for name, keep in zip(names, chosen, strict=True)])


def _file_name(name: str) -> str:
    """A family is made of letters alone, unless the architecture has none: no path may come of it."""
    return name if name.isascii() and name.isalpha() else "other"
