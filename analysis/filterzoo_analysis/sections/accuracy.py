"""Correlation of quality with the accuracies that zoos state (arXiv:2204.02481)."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.exhibits import Answer, Exhibit, interval, query_of, shown, table_of
from filterzoo_analysis.sections import quality
from filterzoo_analysis.statistics import Bools
from filterzoo_analysis.uncertainty import FEWEST_MODELS, REPLICATES, widened
from filterzoo_analysis.zoo import Zoo


def correlation(zoo: Zoo) -> Exhibit | None:
    """Spearman correlation of each model's measures with its accuracies, models drawn again; None for too few."""
    models = zoo.dataset.models
    everything = np.ones(len(zoo.layers), bool)
    sets = _model_values(models["training_dataset"].to_pylist())
    values = {name: quality.model_means(zoo.layers, _measure(zoo, name), everything) for name in quality.MEASURES}
    rows: list[dict[str, Any]] = []
    for target in ("robust_accuracy", "clean_accuracy"):
        accuracy = models[target].to_numpy().astype(float)
        others = values | (
            {} if target == "clean_accuracy" else {"clean_accuracy": models["clean_accuracy"].to_numpy().astype(float)}
        )
        for name, chosen in [("all", np.ones(len(models), bool)), *sets]:
            for measure, numbers in others.items():
                found = _spearman(numbers[chosen], accuracy[chosen])
                if found is not None:
                    rows.append({"accuracy": target, "training_dataset": name, "measure": measure, **found})
    if not rows:
        return None
    labels = [f"{row['accuracy']} ~ {row['measure']}, {row['training_dataset']} ({row['models']})" for row in rows]
    points = np.array([[row[key] for row in rows] for key in ("rho", "low", "high")], dtype=float)
    told = "; ".join(f"{label} {interval(*points[:, i])}" for i, label in enumerate(labels[:12]))
    return Exhibit(
        name="accuracy_correlation",
        title="Correlation of quality with stated accuracies",
        says=f"Spearman: {told}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "accuracy.correlation"),
        draw=partial(figures.intervals, labels=labels, found=points, label="Spearman rank correlation"),
        size=(9, 1 + 0.24 * len(rows)),
        notes=(
            f"{len(rows)} correlations at once: one in twenty intervals misses zero by chance alone.",
            "Intervals draw models again and are wider for few.",
        ),
        answers=tuple(_correlation_answers(rows)),
    )


def rank_correlation(first: Doubles, second: Doubles, times: Doubles | None = None) -> Doubles:
    """Spearman's rho, equal values sharing their mean rank, of samples that hold value i `times[:, i]` times.

    first, second: (n,). times: (samples, n), whole numbers with equal sums; None for each value once. Gives (samples,),
    NaN where a sample has one value only.
    """
    times = np.ones((1, len(first))) if times is None else times
    centre = (times[0].sum() + 1) / 2
    a, b = _ranks(first, times) - centre, _ranks(second, times) - centre
    with np.errstate(invalid="ignore", divide="ignore"):
        rho: Doubles = (times * a * b).sum(axis=1) / np.sqrt((times * a**2).sum(axis=1) * (times * b**2).sum(axis=1))
    return rho


def _ranks(values: Doubles, times: Doubles) -> Doubles:
    """(samples, n): the mean rank of each value in each sample."""
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    counts = np.add.reduceat(times[:, order], starts, axis=1)
    ranks: Doubles = (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, place]
    return ranks


def _spearman(first: Doubles, second: Doubles) -> dict[str, Any] | None:
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    count = len(first)
    if count <= FEWEST_MODELS or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    times = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=REPLICATES).astype(np.float64)
    drawn = rank_correlation(first, second, times)
    low, high = widened(drawn[np.isfinite(drawn)], count).clip(-1, 1)
    return {"models": count, "rho": float(rank_correlation(first, second)[0]), "low": low, "high": high}


def _measure(zoo: Zoo, column: str) -> Doubles:
    return zoo.coefficients.entropy if column == "variance_entropy" else zoo.layers.numbers(column)


def _model_values(values: list[str | None]) -> list[tuple[str, Bools]]:
    """Each value with the models that have it."""
    return [
        (name, np.array([value == name for value in values])) for name in sorted({v for v in values if v is not None})
    ]


def _correlation_answers(rows: list[dict[str, Any]]) -> list[Answer]:
    found = []
    for measure, published in papers.SPEARMAN.items():
        ours = [row for row in rows if row["accuracy"] == "robust_accuracy" and row["measure"] == measure]
        told = "; ".join(f"{row['training_dataset']} {shown(row['rho'])}" for row in ours)
        found.append(Answer(published, told or None))
    return found
