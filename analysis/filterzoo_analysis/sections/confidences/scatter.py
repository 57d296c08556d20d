"""Confidence on right and on wrong images, and over-confidence, of normal and robust networks."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.reporting.counts import counted
from filterzoo_analysis.drift.uncertainty import HOLLOW, mean_interval
from filterzoo_analysis.exhibits import WIDE, Exhibit, interval, query_of, shown, table_of
from filterzoo_analysis.sections.confidences import drawing
from filterzoo_analysis.sections.confidences.rows import KINDS, Evaluation, conditions, evaluations, grid_of, warning
from filterzoo_analysis.sections.quality import ONE_IN_TWENTY
from filterzoo_analysis.zoo import Zoo

MEASURES = ("over_confidence", "under_confidence", "ece", "auroc", "accuracy")
_NOTES = (
    (
        "A point is a network: circles normal, diamonds robust, squares not stated; darker is more accurate. The star "
        "marks the best corner: sure where right, unsure where wrong."
    ),
    "A network without a right or without a wrong image has no point.",
)


def scatter(zoo: Zoo) -> Exhibit:
    """A point for each network: mean confidence on right images (x) and on wrong ones (y)."""
    found, left = evaluations(zoo)
    rows = [
        {
            "image_set": each.image_set,
            "attack": each.attack,
            "model_id": each.row["model_id"],
            "kind": each.kind,
            "images": each.row["n"],
            "confidence_right": 1 - each.number("under_confidence"),
            "confidence_wrong": each.number("over_confidence"),
        }
        | {name: each.number(name) for name in MEASURES}
        for each in found
    ]
    summary = "; ".join(_summary(*item) for item in conditions(found).items())
    grid = grid_of(found)
    return Exhibit(
        name="confidence_right_wrong",
        title="Confidence on right against confidence on wrong images",
        summary=f"Mean confidence on right and on wrong images: {summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "confidences.scatter.scatter"),
        draw=partial(drawing.scatters, found=found, grid=grid),
        size=grid.size,
        notes=tuple(filter(None, (*_NOTES, warning(found), *left))),
    )


def bars(zoo: Zoo) -> Exhibit:
    """Mean over-confidence over networks by image set, attack and kind, with the other measures in the table."""
    found, _ = evaluations(zoo)
    rows: list[dict[str, Any]] = [
        {"image_set": image_set, "attack": attack, "kind": kind, "networks": len(own)}
        | {key: value for name in MEASURES for key, value in _mean(name, own).items()}
        for (image_set, attack), here in conditions(found).items()
        for kind in KINDS
        if (own := [each for each in here if each.kind == kind])
    ]
    ends = ("over_confidence", "over_confidence_low", "over_confidence_high")
    summary = "; ".join(
        f"{row['image_set']}, {row['attack']}, {row['kind']} {interval(*(row[name] for name in ends))}" for row in rows
    )
    return Exhibit(
        name="over_confidence",
        title="Over-confidence: mean confidence on wrong images",
        summary=f"Mean over networks: {summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "confidences.scatter.bars"),
        draw=partial(drawing.grouped_bars, rows=rows, label="over-confidence"),
        size=(max(WIDE, 1.5 + 1.1 * len(conditions(found))), 4),
        notes=(
            f"Means over networks with 95 % intervals, networks drawn again. {HOLLOW.replace('points', 'bars')}",
            f"{counted(len(rows), 'interval')} in the figure: {ONE_IN_TWENTY}",
        ),
    )


def _mean(name: str, own: list[Evaluation]) -> dict[str, float]:
    found = mean_interval(np.array([each.number(name) for each in own]))
    return dict(zip((name, f"{name}_low", f"{name}_high"), found, strict=True))


def _summary(condition: tuple[str, str], here: list[Evaluation]) -> str:
    parts = []
    for kind in KINDS:
        own = [each for each in here if each.kind == kind]
        if own:
            right, wrong = (
                _known_mean([each.number(name) for each in own]) for name in ("under_confidence", "over_confidence")
            )
            parts.append(f"{counted(len(own), f'{kind} network')} {shown(1 - right)} and {shown(wrong)}")
    return f"{condition[0]}, {condition[1]}: {', '.join(parts)}"


def _known_mean(values: list[float]) -> float:
    known = np.array(values)[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
