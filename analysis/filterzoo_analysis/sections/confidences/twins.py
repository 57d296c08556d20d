"""Differences in confidence between the robust and the normal network of a pair."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.drift.uncertainty import FEWEST_MODELS, HOLLOW, RATE, REPLICATES, widened
from filterzoo_analysis.exhibits import Answer, Exhibit, interval
from filterzoo_analysis.sections.confidences import comparisons
from filterzoo_analysis.sections.confidences.rows import HALF, Evaluation, conditions, evaluations
from filterzoo_analysis.sections.confidences.scatter import MEASURES
from filterzoo_analysis.zoo import Zoo

_EXACT = 12
"""Largest number of clusters for which all exchanges are enumerated. For more, REPLICATES are drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class _Differences:
    """values: (n,), robust minus normal, for each robust network. cluster: (n,), an index for each normal network."""

    values: Doubles
    cluster: np.ndarray[tuple[int], np.dtype[np.int64]]


def differences(zoo: Zoo) -> Exhibit | None:
    """Mean difference of each measure within pairs, by image set and attack; None if no pair was evaluated."""
    rows: list[dict[str, Any]] = []
    for (image_set, attack), here in conditions(evaluations(zoo)[0]).items():
        for measure in MEASURES:
            found, below = _of(here, measure)
            if len(found.values):
                about = {"image_set": image_set, "attack": attack, "measure": measure}
                rows.append(about | row_of(found.values, found.cluster) | {"below_half": below})
    if not rows:
        return None
    rows = comparisons.judged(rows, "differs")
    return comparisons.exhibit(
        zoo,
        rows,
        [row for row in rows if row["measure"] in {"over_confidence", "under_confidence", "ece"}],
        name="confidence_pairs",
        title="Robust minus normal, within pairs",
        summary=_summary(rows),
        query="confidences.twins.differences",
        value="difference",
        flag="differs",
        about=lambda row: str(row["measure"]),
        count="pairs",
        axis="robust minus normal",
        notes=(*_NOTES, _count(rows), _below(rows)),
        answers=(Answer(papers.LESS_OVER_CONFIDENT, _answer(rows)),),
    )


_NOTES = (
    (
        "A pair is a robust network and the normal one it is compared with; in brackets: pairs. Robust networks that "
        f"share a normal one are one cluster: clusters are drawn again for the 95 % intervals, wider for few. {HOLLOW}"
    ),
)


def _count(rows: list[dict[str, Any]]) -> str:
    return (
        f"{counted(len(rows), 'comparison')} at once: p counts how often exchanging the twins of whole clusters "
        f"reaches the difference, q is p adjusted for all (Benjamini & Hochberg); "
        f"`differs`: q of at most {RATE}; others are drawn faintly."
    )


def _below(rows: list[dict[str, Any]]) -> str:
    below = [row for row in rows if row["below_half"] and row["measure"] == "ece"]
    summary = ", ".join(
        f"{row['below_half']} of {row['pairs']} on {row['image_set']} ({row['attack']})" for row in below
    )
    return (
        f"Pairs with a network below 50 % accuracy, where ECE is hard to read (`below_half`): {summary}."
        if summary
        else ""
    )


def _of(here: list[Evaluation], measure: str) -> tuple[_Differences, int]:
    """The differences of a measure, and the number of pairs with a network below 50 % accuracy."""
    pairs: defaultdict[str, dict[bool, list[Evaluation]]] = defaultdict(lambda: {False: [], True: []})
    for each in here:
        robust, pair = each.facts["robust"], each.facts["pair_id"]
        if pair is not None and robust is not None and np.isfinite(each.number(measure)):
            pairs[pair][robust].append(each)
    values, cluster, below = [], [], 0
    for number, kinds in enumerate(pairs[name] for name in sorted(pairs)):
        if kinds[False]:
            normal = float(np.mean([each.number(measure) for each in kinds[False]]))
            for robust_twin in kinds[True]:
                values.append(robust_twin.number(measure) - normal)
                cluster.append(number)
                below += min(each.row["accuracy"] for each in (robust_twin, *kinds[False])) < HALF
    return _Differences(np.array(values), np.array(cluster, np.int64)), below


def row_of(values: Doubles, cluster: Any) -> dict[str, Any]:
    """Mean of differences (n,) in clusters (n,), its interval, and p for exchanging the networks of pairs."""
    _, place = np.unique(cluster, return_inverse=True)
    sums, numbers = np.bincount(place, weights=values).astype(np.float64), np.bincount(place)
    clusters, mean = len(sums), float(values.mean())
    row = {"pairs": len(values), "normal_networks": clusters, "difference": mean}
    if clusters < FEWEST_MODELS:
        return row | {"low": np.nan, "high": np.nan, "p": np.nan}
    times = np.random.default_rng(0).multinomial(clusters, np.full(clusters, 1 / clusters), size=REPLICATES)
    low, high = widened((times @ sums) / (times @ numbers), clusters)
    return row | {"low": min(mean, float(low)), "high": max(mean, float(high)), "p": exchange(sums)}


def exchange(sums: Doubles) -> float:
    """p: the share of exchanges of whole clusters whose sum is at least as far from zero. sums: (clusters,)."""
    clusters, bound = len(sums), abs(sums.sum()) * (1 - 1e-9)
    if clusters <= _EXACT:
        signs = np.array(list(product((1.0, -1.0), repeat=clusters)))
        return float((np.abs(signs @ sums) >= bound).mean())
    signs = np.random.default_rng(1).choice([1.0, -1.0], size=(REPLICATES, clusters))
    return float((1 + (np.abs(signs @ sums) >= bound).sum()) / (1 + REPLICATES))


def _summary(rows: list[dict[str, Any]]) -> str:
    differ = [comparisons.described(row, row["measure"], "difference") for row in rows if row["differs"]]
    return "; ".join(differ) + "." if differ else "No difference is shown: none stands out among so many comparisons."


def _answer(rows: list[dict[str, Any]]) -> str:
    parts = []
    for row in rows:
        if row["measure"] == "over_confidence":
            found = interval(row["difference"], row["low"], row["high"])
            verdict = "" if row["differs"] else ", no difference shown"
            parts.append(f"{row['image_set']}, {row['attack']}: {found}{verdict}")
    return "; ".join(parts)
