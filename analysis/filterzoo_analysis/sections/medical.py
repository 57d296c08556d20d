"""The figures of 'Does Medical Imaging learn different Convolution Filters?' (arXiv:2210.13799) for this data set."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.drift.cells import by_each_model, by_model, cells_of, family
from filterzoo_analysis.drift.uncertainty import (
    HOLLOW,
    RATE,
    drift_matrix,
    with_null_share,
)
from filterzoo_analysis.exhibits import WIDE, Answer, Exhibit, Section, query_of, shown, table_of
from filterzoo_analysis.sections import drifts
from filterzoo_analysis.sections import outliers as far_out
from filterzoo_analysis.tables.statistics import Bools
from filterzoo_analysis.zoo import Zoo

_MARK = "medical"


def section(zoo: Zoo) -> Section:
    """Distributions of medical networks, and their drift from each other and from natural ones of the same family."""
    title = "Medical imaging"
    about = "The figures of 'Does Medical Imaging learn different Convolution Filters?' (MedNeurIPS 2022)."
    if not is_medical(zoo)[zoo.layers.model].any():
        without = int(is_medical(zoo).sum())
        reason = (
            f"{counted(without, 'model')} of medical images, none with 3x3 filters: other kernels are not drawn."
            if without
            else "No model is known to be trained on medical images (`visual_category` begins with `medical`)."
        )
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
    grid = outlier_filters(zoo)
    exhibits += [] if grid is None else [grid]
    return Section("medical", title, about, tuple(exhibits), tuple(empty))


def is_medical(zoo: Zoo) -> Bools:
    """(models,) whether the visual category is medical."""
    return np.array([str(name).startswith(_MARK) for name in zoo.dataset.models["visual_category"].to_pylist()], bool)


def families(zoo: Zoo) -> list[str]:
    """Architecture families with at least two models, of which at least one is medical."""
    medical, found = is_medical(zoo), _families(zoo)
    present = np.unique(zoo.layers.model)
    members: dict[str, list[int]] = {}
    for model in present:
        if (name := found[model]) is not None:
            members.setdefault(name, []).append(int(model))
    return sorted(name for name, models in members.items() if len(models) > 1 and medical[models].any())


def ridge(zoo: Zoo) -> Exhibit:
    """Distributions of the coefficients of each medical model."""
    cells = drifts.largest(cells_of(zoo.layers, zoo.coefficients, by_each_model(zoo.layers, is_medical(zoo))))
    title = "Distributions of the coefficients of medical models"
    return drifts.ridge(zoo, cells, "medical_ridge", title, query_of(zoo, "medical.ridge"))


def family_drift(zoo: Zoo, name: str) -> Exhibit:
    """Drift between the models of an architecture family, medical or not."""
    chosen = np.array([each == name for each in _families(zoo)])
    matrix = drift_matrix(drifts.largest(cells_of(zoo.layers, zoo.coefficients, by_each_model(zoo.layers, chosen))), 2)
    answers: tuple[Answer, ...] = ()
    if name in papers.FAMILY_DRIFT:
        answers = (Answer(papers.FAMILY_DRIFT[name], f"{matrix.upper.mean():.3f}; {matrix.upper.max():.3f}"),)
    query = query_of(zoo, "medical.family_drift", name=name)
    title = f"Drift between models of the family {figures.short(name)}"
    return drifts.heat_map(zoo, matrix, f"medical_drift_{_file_name(name)}", title, query, answers=answers)


def against_natural(zoo: Zoo) -> Exhibit | None:
    """Drift between medical and natural models of the same family, with intervals; None if no family has both."""
    rows = _drifts_in_families(zoo)
    if not rows:
        return None
    rows = with_null_share(rows)
    points = np.array([[row[key] for row in rows] for key in ("drift", "low", "high")])
    labels = [f"{row['family']} ({row['medical']} / {row['natural']}){'*' if row['q'] <= RATE else ''}" for row in rows]
    summary = "; ".join(
        f"{label} {shown(row['drift'])}, {shown(row['expected'])} expected of so few filters"
        for label, row in zip(labels, rows, strict=True)
    )
    return Exhibit(
        name="medical_natural",
        title="Medical against natural models of the same family",
        summary=f"Drift: {summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "medical.against_natural"),
        draw=partial(
            figures.intervals,
            labels=labels,
            found=points,
            label="drift, nats",
            expected=np.array([row["expected"] for row in rows]),
        ),
        size=(WIDE, 1.4 + 0.3 * len(rows)),
        notes=(
            f"In brackets: medical / natural models. {HOLLOW}",
            "`expected`: what as many filters drawn from one distribution would give; `corrected`: without it.",
            f"{counted(len(rows), 'comparison')}; *: q <= {RATE}, Benjamini-Hochberg over them.",
            f"Variant {zoo.coefficients.variant}.",
        ),
    )


def _drifts_in_families(zoo: Zoo) -> list[dict[str, Any]]:
    """A row for each family with medical and natural models."""
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
    return rows


def outliers(zoo: Zoo) -> Exhibit:
    """The drift of each medical model from all other medical models, and properties of the outliers."""
    table = far_out.outlier_table(zoo, is_medical(zoo))
    far = [row for row in table.to_pylist() if row["outlier"]]
    summary = "; ".join(f"{row['model_id']} (drift {row['drift']:.2f}: {row['because']})" for row in far[:10])
    top = table.slice(0, 30)
    return Exhibit(
        name="medical_outliers",
        title="Medical models by their drift from the others",
        summary=f"{len(far)} of {len(table)} models are outliers{': ' + summary if far else ''}.",
        table=table,
        query=query_of(zoo, "medical.outliers"),
        draw=far_out.drifts_of(top),
        size=(WIDE, 1.2 + 0.27 * max(3, len(top))),
        notes=(far_out.OUTLIER_RULE,),
    )


def outlier_filters(zoo: Zoo) -> Exhibit | None:
    """Filters of the outliers and of a typical model; None without outliers or samples."""
    return far_out.grid(zoo, is_medical(zoo), query_of(zoo, "medical.outlier_filters"))


def _families(zoo: Zoo) -> list[str | None]:
    return [None if name is None else family(name) for name in zoo.dataset.models["architecture"].to_pylist()]


def _file_name(name: str) -> str:
    """The family's name as part of a file name: names that are not only letters become `other`."""
    return name if name.isascii() and name.isalpha() else "other"
