"""Curves from the histograms of `confidences`: ROC and reliability."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo_analysis.exhibits import Exhibit, query_of, shown, table_of
from filterzoo_analysis.sections.confidences import drawing
from filterzoo_analysis.sections.confidences.rows import (
    KINDS,
    conditions,
    error_of,
    evaluations,
    grid_of,
    rates,
    warning,
)
from filterzoo_analysis.zoo import Zoo

_ROC_NOTES = (
    (
        "A thin line a network, thick ones the mean over networks. Right images are the positive ones, confidence is "
        "the score; drawn through the edges of the 15 bins. The areas, of which panels show means, are those of images."
    ),
    (
        "Compare areas only between evaluations of one stop rule: an attack that stops at the first error leaves each "
        "wrong image barely wrong."
    ),
)
_RELIABILITY_NOTE = (
    "Points below the dashed line are over-confident. Larger points hold more images; images of all networks of a kind "
    "are one set, so that errors of opposite sign of two networks cancel here."
)


def roc(zoo: Zoo) -> Exhibit:
    """ROC curves of confidence as a detector of right answers, a line for each network."""
    found, _ = evaluations(zoo)
    found = [each for each in found if np.isfinite(each.number("auroc"))]
    rows: list[dict[str, Any]] = []
    for each in found:
        counts = each.counts()
        bins = counts.shape[1]
        false, true = rates(counts)
        rows += [
            {"image_set": each.image_set, "attack": each.attack, "model_id": each.row["model_id"], "kind": each.kind}
            | {"threshold": (bins - i) / bins, "false_positive_rate": false[i], "true_positive_rate": true[i]}
            for i in range(bins + 1)
        ]
    summary = "; ".join(
        f"{image_set}, {attack}, {kind} {shown(float(np.mean(own)))}"
        for (image_set, attack), here in conditions(found).items()
        for kind in KINDS
        if (own := [each.number("auroc") for each in here if each.kind == kind])
    )
    grid = grid_of(found)
    return Exhibit(
        name="confidence_roc",
        title="Confidence as a detector of right answers: ROC curves",
        summary=f"Mean area under the curve over networks: {summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "confidences.curves.roc"),
        draw=partial(drawing.rocs, found=found, grid=grid),
        size=grid.size,
        notes=_ROC_NOTES,
    )


def reliability(zoo: Zoo) -> Exhibit:
    """Reliability diagrams: accuracy in each bin of confidence, over all networks of a kind."""
    found, _ = evaluations(zoo)
    rows: list[dict[str, Any]] = []
    for (image_set, attack), here in conditions(found).items():
        for kind in KINDS:
            own = [each.counts() for each in here if each.kind == kind]
            if own:
                rows += [{"image_set": image_set, "attack": attack, "kind": kind, **row} for row in _bins(sum(own))]
    summary = "; ".join(
        f"{image_set}, {attack}, {kind} {shown(error_of(these))}"
        for (image_set, attack), here in conditions(found).items()
        for kind in KINDS
        if (these := [each for each in here if each.kind == kind])
    )
    grid = grid_of(found)
    return Exhibit(
        name="reliability",
        title="Reliability: accuracy by confidence",
        summary=f"Calibration error of the images of all networks together: {summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "confidences.curves.reliability"),
        draw=partial(drawing.reliabilities, found=found, rows=rows, grid=grid),
        size=grid.size,
        notes=tuple(filter(None, (_RELIABILITY_NOTE, warning(found)))),
    )


def _bins(counts: Any) -> list[dict[str, Any]]:
    right, wrong, z_right, z_wrong = counts
    number = right + wrong
    with np.errstate(invalid="ignore"):
        accuracy, confidence = right / number, (z_right + z_wrong) / number
    return [
        {"above": i / len(number), "images": int(number[i]), "accuracy": accuracy[i], "confidence": confidence[i]}
        for i in range(len(number))
    ]
