"""Compares activation functions and poolings between networks of equal architecture and training."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from filterzoo.reporting.counts import counted
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.drift.uncertainty import FEWEST_MODELS, RATE, mean_interval
from filterzoo_analysis.exhibits import Answer, Exhibit
from filterzoo_analysis.sections.confidences import comparisons
from filterzoo_analysis.sections.confidences.rows import Evaluation, conditions, evaluations, warning
from filterzoo_analysis.sections.confidences.twins import exchange
from filterzoo_analysis.zoo import Zoo

COLUMNS = ("activation", "pooling")
_NOTES = (
    (
        "Compared within groups of networks of one architecture, both robust or both normal; in brackets: groups, "
        f"which are drawn again for the intervals. Hollow points: fewer than {FEWEST_MODELS} groups, no interval."
    ),
    (
        "`flc` is FrequencyLowCut pooling as its authors describe it (arXiv:2204.00491): the low frequencies of a "
        "Fourier transform are kept, and transformed back."
    ),
)
_MEASURES = ("over_confidence", "under_confidence", "ece")


def functions(zoo: Zoo) -> Exhibit | None:
    """Each activation and pooling against the most frequent one, at equal architecture; None without such networks."""
    found, _ = evaluations(zoo)
    rows = [
        {"image_set": image_set, "attack": attack, "column": column, **row}
        for (image_set, attack), here in conditions(found).items()
        for column in COLUMNS
        for row in _compared(here, column)
    ]
    if not rows:
        return None
    rows = comparisons.judged(rows, "differs")
    differ = [
        comparisons.described(row, f"{row['measure']} of {row['value']} less {row['reference']}", "difference")
        for row in rows
        if row["differs"]
    ]
    return comparisons.exhibit(
        zoo,
        rows,
        [row for row in rows if row["measure"] == "over_confidence"],
        name="confidence_functions",
        title="Activation and pooling at equal architecture",
        summary="; ".join(differ) + "."
        if differ
        else "No difference is shown between activation functions or poolings.",
        query="confidences.functions.functions",
        value="difference",
        flag="differs",
        about=lambda row: f"{row['column']} {row['value']} less {row['reference']}",
        count="groups",
        axis="difference in over-confidence",
        notes=(*_NOTES, _count(rows), warning(found)),
        answers=(Answer(papers.FUNCTIONS_MATTER, "; ".join(differ) or "no difference is shown"),),
    )


def _count(rows: list[dict[str, Any]]) -> str:
    return (
        f"{counted(len(rows), 'comparison')} at once: q is p adjusted for all (Benjamini & Hochberg); those of more "
        f"than {RATE} are drawn faintly."
    )


def _compared(here: list[Evaluation], column: str) -> list[dict[str, Any]]:
    """Differences between each value of the column and the most frequent one, within groups that have both."""
    groups: defaultdict[tuple[str, str], list[Evaluation]] = defaultdict(list)
    for each in here:
        if each.facts["architecture"] and each.facts["robust"] is not None and each.facts[column]:
            groups[each.facts["architecture"], each.kind].append(each)
    mixed = [own for own in groups.values() if len({each.facts[column] for each in own}) > 1]
    counts = Counter(each.facts[column] for own in mixed for each in own)
    if not counts:
        return []
    reference = min(counts, key=lambda value: (-counts[value], value))
    rows = []
    for value in sorted(counts.keys() - {reference}):
        for measure in _MEASURES:
            differences = np.array([_difference(own, column, value, reference, measure) for own in mixed])
            known = differences[np.isfinite(differences)]
            if len(known):
                mean, low, high = mean_interval(known, bounds=(-1.0, 1.0))
                p = exchange(known) if len(known) >= FEWEST_MODELS else np.nan
                about = {"value": value, "reference": reference, "measure": measure, "groups": len(known)}
                rows.append(about | {"difference": mean, "low": low, "high": high, "p": p})
    return rows


def _difference(own: list[Evaluation], column: str, value: str, reference: str, measure: str) -> float:
    """The difference of the means for `value` and `reference` in a group; NaN if the group lacks one of them."""
    means = []
    for wanted in (value, reference):
        found = np.array([each.number(measure) for each in own if each.facts[column] == wanted])
        found = found[np.isfinite(found)]
        means.append(float(found.mean()) if len(found) else float("nan"))
    return means[0] - means[1]
