"""Correlations between measures of filters and measures of confidence, at equal architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis.drift.uncertainty import RATE, REPLICATES, drift_between, widened
from filterzoo_analysis.exhibits import Exhibit
from filterzoo_analysis.sections import pairs, quality
from filterzoo_analysis.sections.confidences import comparisons
from filterzoo_analysis.sections.confidences.rows import Evaluation, conditions, evaluations, warning
from filterzoo_analysis.zoo import Zoo

_CONFIDENCE = ("over_confidence", "under_confidence", "ece")
_SPECTRAL = ("spectral_norm", "stable_rank", "effective_rank", "power_law_alpha")
FEWEST = 5
"""Least degrees of freedom: networks minus groups."""
_DRAWN = 40
_NOTES = (
    (
        "Ranks within groups of networks of one architecture, all robust or all normal, joined over the groups; in "
        "brackets: networks. Neither architectures nor robust training make a correlation. Intervals draw them again."
    ),
    (
        "Measures of all 3x3 layers of a network, weighted as in the robustness section; spectral ones and the share "
        "of the highest frequencies are means over layers; drift: from the normal twin, in nats."
    ),
)


def correlation(zoo: Zoo) -> Exhibit | None:
    """Rank correlations within groups of equal architecture and training; None if the groups are too small."""
    measures = measures_of(zoo)
    found, _ = evaluations(zoo)
    rows = [
        {"image_set": image_set, "attack": attack, "confidence": confidence, "measure": measure, **row}
        for (image_set, attack), here in conditions(found).items()
        for confidence in _CONFIDENCE
        for measure, values in measures.items()
        if (row := _correlated(here, confidence, values)) is not None
    ]
    if not rows:
        return None
    rows = comparisons.judged(rows, "stands_out")
    drawn = sorted(rows, key=lambda row: (row["q"], -abs(row["rho"])))[:_DRAWN]
    parts = [
        comparisons.described(row, f"{row['confidence']} with {row['measure']}", "rho")
        for row in drawn
        if row["stands_out"]
    ]
    return comparisons.exhibit(
        zoo,
        rows,
        drawn,
        name="confidence_weights",
        title="Confidence and weights at equal architecture",
        summary="; ".join(parts) + "." if parts else "No correlation is shown: none stands out among so many.",
        query="confidences.weights.correlation",
        value="rho",
        flag="stands_out",
        about=lambda row: f"{row['confidence']} ~ {row['measure']}",
        count="networks",
        axis="rank correlation within groups",
        notes=(*_NOTES, _count(rows), warning(found)),
    )


def _count(rows: list[dict[str, Any]]) -> str:
    drawn = f" The {_DRAWN} of smallest q are drawn." if len(rows) > _DRAWN else ""
    return (
        f"{counted(len(rows), 'correlation')} at once: p counts how often exchanging networks within groups reaches "
        f"it, q is p adjusted for all (Benjamini & Hochberg); "
        f"q of at most {RATE} stands out, others are drawn faintly.{drawn}"
    )


def measures_of(zoo: Zoo) -> dict[str, Doubles]:
    """Name -> (models,) a measure of each network's filters, NaN where it is undefined."""
    everything = np.ones(len(zoo.layers), bool)
    found = {name: quality.paper_means(zoo, name, everything) for name in quality.MEASURES}
    for name in _SPECTRAL:
        found[name] = quality.model_means(zoo.layers, zoo.layers.numbers(name), everything)
    highest = [None if each is None else each[-1] for each in zoo.layers.table["frequency_energy"].to_pylist()]
    found["high_frequency"] = quality.model_means(zoo.layers, np.array(highest, dtype=float), everything)
    return found | {"drift_from_twin": _drift_from_twin(zoo)}


def _drift_from_twin(zoo: Zoo) -> Doubles:
    """(models,) drift between each robust network and the normal networks of its pair; NaN for other networks."""
    models, layers = zoo.dataset.models, zoo.layers
    names, robust = models["pair_id"].to_pylist(), models["robust"].to_pylist()
    found = np.full(len(models), np.nan)
    histograms: dict[int, Doubles] = {}
    for place in np.flatnonzero(pairs.times(zoo)):
        rows = layers.model == place
        histograms[int(place)] = zoo.coefficients.histogram[rows].sum(axis=0, dtype=np.float64).ravel()
    for model, own in histograms.items():
        normal = [other for number, other in histograms.items() if names[number] == names[model] and not robust[number]]
        if robust[model] and own.sum() and normal and np.sum(normal):
            total = np.sum(normal, axis=0)
            found[model] = drift_between(own, total, zoo.coefficients.weights, zoo.coefficients.bin_width)
    return found


def _correlated(here: list[Evaluation], confidence: str, values: Doubles) -> Mapping[str, Any] | None:
    known = [
        each
        for each in here
        if each.facts["architecture"] and np.isfinite(each.number(confidence)) and np.isfinite(values[each.model])
    ]
    groups = [(each.facts["architecture"], each.kind) for each in known]
    _, place = np.unique([" ".join(group) for group in groups], return_inverse=True) if groups else (None, np.array([]))
    counts = np.bincount(place) if len(place) else np.array([], int)
    kept = np.flatnonzero(counts[place] > 1) if len(place) else np.array([], int)
    place, known = place[kept], [known[i] for i in kept]
    if len(known) - len(np.unique(place)) < FEWEST:
        return None
    first = _ranks(np.array([values[each.model] for each in known]), place)
    second = _ranks(np.array([each.number(confidence) for each in known]), place)
    rho = _rho(first, second)
    if not np.isfinite(rho):
        return None
    low, high = _interval(first, second, [each.cluster for each in known])
    row = {"networks": len(known), "groups": len(np.unique(place)), "rho": rho}
    return row | {"low": min(rho, low), "high": max(rho, high), "p": _p(first, second, place, rho)}


def _ranks(values: Doubles, place: Any) -> Doubles:
    """Ranks within each group, minus the group's mean. Equal values share their mean rank."""
    found = np.empty(len(values))
    for group in np.unique(place):
        own = values[place == group]
        ranks = (own[:, None] > own[None, :]).sum(axis=1) + ((own[:, None] == own[None, :]).sum(axis=1) - 1) / 2
        found[place == group] = ranks - ranks.mean()
    return found


def _rho(first: Doubles, second: Doubles) -> float:
    scale = np.sqrt((first**2).sum() * (second**2).sum())
    return float(first @ second / scale) if scale > 0 else float("nan")


def _interval(first: Doubles, second: Doubles, clusters: list[str]) -> tuple[float, float]:
    """Bootstrap interval. Pairs and single networks are resampled: networks of a pair stay together."""
    _, place = np.unique(clusters, return_inverse=True)
    count = int(place.max()) + 1
    sums = np.stack([np.bincount(place, weights=each) for each in (first * second, first**2, second**2)])
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=REPLICATES)
    product, own, other = (times @ each for each in sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = product / np.sqrt(own * other)
    low, high = widened(drawn[np.isfinite(drawn)], count).clip(-1, 1)
    return float(low), float(high)


def _p(first: Doubles, second: Doubles, place: Any, rho: float) -> float:
    """p: the share of permutations within groups that reach |rho|."""
    rng = np.random.default_rng(1)
    order = np.argsort(place, kind="stable")
    drawn = np.empty((REPLICATES, len(place)))
    for group in np.unique(place):
        own = np.flatnonzero(place[order] == group)
        mixed = own[np.argsort(rng.random((REPLICATES, len(own))), axis=1)]
        drawn[:, own] = second[order][mixed]
    scale = np.sqrt((first**2).sum() * (second**2).sum())
    reached = np.abs(drawn @ first[order] / scale) >= abs(rho) * (1 - 1e-9)
    return float((1 + reached.sum()) / (1 + REPLICATES))
