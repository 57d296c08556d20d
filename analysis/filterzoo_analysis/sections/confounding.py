"""Confounding: the association between axes of a data set, and the drift at equal architecture and between seeds."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from itertools import combinations
from typing import Any

import numpy as np

from filterzoo_analysis.drift.cells import family
from filterzoo_analysis.drift.uncertainty import DriftMatrix, drift_between
from filterzoo_analysis.exhibits import Exhibit, query_of, shown, table_of
from filterzoo_analysis.tables.statistics import Bools
from filterzoo_analysis.zoo import Zoo

AXES = ("task", "visual_category", "training_dataset", "architecture family", "source", "robust")
_SEED = re.compile(r"(?i)(seed|run|init)[-_ ]?\d+")


def values_of(zoo: Zoo, axis: str) -> list[str | None]:
    """The value of each model on an axis; None if unknown."""
    if axis in {"architecture family", "family"}:
        names = zoo.dataset.models["architecture"].to_pylist()
        return [None if name is None else family(name) for name in names]
    return [None if value is None else str(value) for value in zoo.dataset.models[axis].to_pylist()]


def with_layers(zoo: Zoo) -> Bools:
    """(models,) whether a model has analysed 3x3 layers."""
    found = np.zeros(len(zoo.dataset.models), bool)
    found[zoo.layers.model] = True
    return found


def is_one_partition(zoo: Zoo, first: str, second: str) -> bool:
    """Whether two axes divide the same models into the same groups."""
    return bool(_coincidence(zoo, first, second)["one_partition"])


def coincidence(zoo: Zoo) -> Exhibit:
    """The association between each two axes: a drift along one may be due to the other."""
    rows = [
        {"first": first, "second": second, **_coincidence(zoo, first, second)}
        for first, second in combinations(AXES, 2)
    ]
    rows = [row for row in rows if row["first_groups"] > 1 and row["second_groups"] > 1]
    rows.sort(key=lambda row: -row["normalised_information"])
    summary = "; ".join(
        f"{row['first']} and {row['second']} {shown(row['normalised_information'], 2)}"
        + (" (one and the same partition)" if row["one_partition"] else "")
        for row in rows[:6]
    )
    columns = ("first", "second", "models", "first_groups", "second_groups", "cramers_v", "normalised_information")
    return Exhibit(
        name="confounding",
        title="How far the axes coincide",
        summary=f"Normalised mutual information: {summary}." if rows else "No two axes have two groups each.",
        table=table_of({key: [row[key] for row in rows] for key in (*columns, "one_partition")}),
        query=query_of(zoo, "confounding.coincidence"),
        notes=(
            (
                "Over models with 3x3 layers of which both are stated. 1: either axis tells the other; 0: unrelated, "
                "which few models in many groups never reach. Cramer's V: from their table of counts."
            ),
            "A difference along one axis may be one along any axis that coincides with it.",
        ),
    )


def at_equal_architecture(zoo: Zoo, by: str, matrix: DriftMatrix) -> dict[str, list[Any]]:
    """For each pair of groups, the mean drift at equal architecture and the number of shared architectures.

    The mean is over architectures of which both groups have models, with equal weights; None if there are none.
    """
    values, names = values_of(zoo, by), zoo.dataset.models["architecture"].to_pylist()
    layers = zoo.layers.model
    sums: dict[tuple[str, str], Any] = {}
    for key in {(value, name) for value, name in zip(values, names, strict=True) if value and name}:
        chosen = np.array([pair == key for pair in zip(values, names, strict=True)])[layers]
        total = zoo.coefficients.histogram[chosen].sum(axis=0, dtype=np.float64).ravel()
        if total.sum():
            sums[key] = total
    members: defaultdict[str, set[str]] = defaultdict(set)
    for value, name in sums:
        members[value].add(name)
    drifts, counts = [], []
    for a, b in zip(*np.triu_indices(len(matrix.labels), 1), strict=True):
        first, second = matrix.labels[a], matrix.labels[b]
        shared = sorted(members[first] & members[second])
        found = [
            drift_between(sums[first, name], sums[second, name], zoo.coefficients.weights, zoo.coefficients.bin_width)
            for name in shared
        ]
        drifts.append(float(np.mean(found)) if found else None)
        counts.append(len(found))
    return {"drift_at_equal_architecture": drifts, "shared_architectures": counts}


def seeds(zoo: Zoo) -> list[float]:
    """Drifts between models that differ only in the seed: names equal but for `seed3`, `run-2` or `init_1`."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    present = with_layers(zoo)
    sources = zoo.dataset.models["source"].to_pylist()
    for place, name in enumerate(zoo.dataset.models["id"].to_pylist()):
        plain, found = _SEED.subn("#", name)
        if found and present[place]:
            groups[f"{sources[place]}/{plain}"].append(place)
    drifts = []
    for members in groups.values():
        sums = [
            zoo.coefficients.histogram[zoo.layers.model == place].sum(axis=0, dtype=np.float64).ravel()
            for place in members
        ]
        drifts += [
            float(drift_between(a, b, zoo.coefficients.weights, zoo.coefficients.bin_width))
            for a, b in combinations(sums, 2)
            if a.sum() and b.sum()
        ]
    return drifts


def seed_note(zoo: Zoo) -> tuple[str, ...]:
    """A note on the drift between seeds, for comparison; none if no models differ only in the seed."""
    found = seeds(zoo)
    if not found:
        return ()
    return (
        (
            f"Yardstick: {len(found):,} pairs of models that differ in their seed alone drift by "
            f"{shown(float(np.median(found)))} "
            f"(median; {shown(min(found))} to {shown(max(found))})."
        ),
    )


def _coincidence(zoo: Zoo, first: str, second: str) -> dict[str, Any]:
    present = with_layers(zoo)
    stated = list(zip(values_of(zoo, first), values_of(zoo, second), present, strict=True))
    pairs = [(a, b) for a, b, keep in stated if keep and a is not None and b is not None]
    # A model with only one of the two values is in only one of the partitions.
    halves = sum(keep and (a is None) != (b is None) for a, b, keep in stated)
    rows, columns = sorted({a for a, _ in pairs}), sorted({b for _, b in pairs})
    table = np.zeros((len(rows), len(columns)))
    for (a, b), count in Counter(pairs).items():
        table[rows.index(a), columns.index(b)] = count
    share = table / max(1.0, table.sum())
    own, other = share.sum(axis=1, keepdims=True), share.sum(axis=0, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = float(np.nansum(share * np.log(share / (own @ other))))
        chi_squared = float(np.nansum((share - own @ other) ** 2 / (own @ other)))
    entropies = [float(-np.sum(p[p > 0] * np.log(p[p > 0]))) for p in (own, other)]
    mean = sum(entropies) / 2
    fewest = min(len(rows), len(columns)) - 1
    one = (table > 0).sum() == len(rows) == len(columns) and not halves
    return {
        "models": len(pairs),
        "first_groups": len(rows),
        "second_groups": len(columns),
        "cramers_v": float(np.sqrt(chi_squared / fewest)) if fewest > 0 else None,
        "normalised_information": information / mean if mean > 0 else 0.0,
        "one_partition": bool(one and len(rows) > 1),
    }
