"""Correlation of measures with the accuracies that zoos state (arXiv:2204.02481)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.drift.uncertainty import FEWEST_MODELS, REPLICATES, widened
from filterzoo_analysis.exhibits import WIDE, Answer, Exhibit, interval, query_of, shown, table_of
from filterzoo_analysis.sections import quality
from filterzoo_analysis.tables.pairing import times_paired
from filterzoo_analysis.tables.statistics import Bools
from filterzoo_analysis.zoo import Zoo


def correlation(zoo: Zoo) -> Exhibit | None:
    """Spearman correlation of robust networks' measures with their accuracies; None if there are too few networks.

    Within each threat model and training set, also within each architecture, and for first layers alone. Intervals are
    bootstrapped over models. Groups of the same models are listed once.
    """
    rows = [row for group in _groups(zoo) for row in _of_group(zoo, group)]
    if not rows:
        return None
    drawn = [row for row in rows if row["architecture"] is None][:_DRAWN] or rows[:_DRAWN]
    labels = [_label(row) for row in drawn]
    points = np.array([[row[key] for row in drawn] for key in ("rho", "low", "high")], dtype=float)
    summary = "; ".join(f"{label} {interval(*points[:, i])}" for i, label in enumerate(labels[:12]))
    return Exhibit(
        name="accuracy_correlation",
        title="Correlation of robust networks' quality with stated accuracies",
        summary=f"Spearman: {summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robust.accuracy.correlation"),
        draw=partial(figures.intervals, labels=labels, found=points, label="Spearman rank correlation"),
        size=(WIDE, 1 + 0.24 * len(drawn)),
        notes=(
            "Robust networks that are no copies, one threat model and training set at a time; in brackets: models.",
            "Measures of a model are weighted as in the paper (filters; orthogonality: output channels).",
            f"{len(rows)} correlations at once: one in twenty intervals misses zero by chance alone.",
            "Intervals draw models again, wider for few; -1 and 1 have none. Within architectures: in the table.",
        ),
        answers=tuple(_correlation_answers(rows)),
    )


def accuracies(zoo: Zoo) -> Exhibit | None:
    """Stated accuracies of both members of each pair: a row for each robust network; None if none is stated."""
    models = zoo.dataset.models
    names = ("model_id", "pair_id", "architecture", "training_dataset", "threat_model", "robust", *_ACCURACIES)
    table = [dict(zip(names, row, strict=True)) for row in zip(*(models[n].to_pylist() for n in names), strict=True)]
    times = times_paired(models, zoo.analysed)
    members = [row for row, each in zip(table, times, strict=True) if each > 0]
    normal = {row["pair_id"]: row for row in reversed(members) if not row["robust"]}
    rows = [
        {
            "pair_id": row["pair_id"],
            "training_dataset": row["training_dataset"] or normal[row["pair_id"]]["training_dataset"],
            "threat_model": row["threat_model"],
            "architecture": row["architecture"] or normal[row["pair_id"]]["architecture"],
            "robust": row["model_id"],
            "normal": normal[row["pair_id"]]["model_id"],
        }
        | {f"robust_{name}": row[name] for name in _ACCURACIES}
        | {f"normal_{name}": normal[row["pair_id"]][name] for name in _ACCURACIES}
        for row in members
        if row["robust"]
    ]
    rows.sort(key=lambda row: tuple(str(row[key]) for key in ("training_dataset", "architecture", "robust")))
    shown_columns = ("normal_clean_accuracy", "robust_clean_accuracy", "robust_robust_accuracy")
    if not any(row[name] is not None for row in rows for name in shown_columns):
        return None
    means = {
        name: [_mean([row[column] for row in rows if row["training_dataset"] == name]) for column in shown_columns]
        for name in sorted({row["training_dataset"] for row in rows if row["training_dataset"] is not None})
    }
    summary = "; ".join(f"{name} {' / '.join(shown(each, 4) for each in values)}" for name, values in means.items())
    plain = {name.lower().replace("-", ""): values for name, values in means.items()}
    return Exhibit(
        name="robust_accuracies",
        title="Stated accuracies of pairs",
        summary=f"{counted(len(rows), 'pair')}. Means, normal clean / robust clean / robust attacked: {summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robust.accuracy.accuracies"),
        notes=("A row for each robust network, beside the normal one of its pair. Accuracies as the zoos state them.",),
        answers=tuple(
            Answer(published, " / ".join(shown(each, 4) for each in plain[name]) if name in plain else None)
            for name, published in papers.ACCURACIES.items()
        ),
    )


def extra_data(zoo: Zoo) -> Exhibit | None:
    """Measures of robust networks with and without additional training data; None if there are none.

    The paper compares `NAME_extra` with `NAME`: names are all that the data set has on additional data.
    """
    models = zoo.dataset.models
    names = models["id"].to_pylist()
    place = {name: number for number, name in enumerate(names) if zoo.analysed[number]}
    twins = [(name, name.replace("_extra", "", 1)) for name in place if "_extra" in name]
    everything = np.ones(len(zoo.layers), bool)
    values = {column: quality.paper_means(zoo, column, everything) for column in quality.MEASURES}
    rows = [
        {"model": name, "without": other}
        | {
            f"{kind}_{column}": values[column][place[each]]
            for kind, each in (("extra", name), ("without", other))
            for column in quality.MEASURES
        }
        for name, other in twins
        if other in place
    ]
    if not rows:
        return None
    summary = "; ".join(
        f"{row['model']} {shown(row['extra_sparsity'])} against {shown(row['without_sparsity'])}" for row in rows[:8]
    )
    return Exhibit(
        name="extra_training_data",
        title="With and without additional training data",
        summary=f"Sparsity with and without: {summary}.",
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, "robust.accuracy.extra_data"),
        notes=("Networks `NAME_extra...` beside `NAME...`; two networks each, so no interval.",),
    )


_ACCURACIES = ("clean_accuracy", "robust_accuracy")
_ROUNDING = 1e-9
_DRAWN = 60
"""Largest number of correlations in the figure. The table has all."""


@dataclass(frozen=True, slots=True)
class _Group:
    """A group of robust networks of equal threat model and training set, and of one architecture or all (None)."""

    threat_model: str | None
    training_dataset: str | None
    architecture: str | None
    models: Bools


def _groups(zoo: Zoo) -> Iterator[_Group]:
    models = zoo.dataset.models
    robust = np.array([each is True for each in models["robust"].to_pylist()], bool) & zoo.analysed
    keys = [models[name].to_pylist() for name in ("threat_model", "training_dataset", "architecture")]
    stated = list(zip(*keys, strict=True))

    def those(length: int) -> dict[tuple[str | None, ...], Bools]:
        found = sorted({row[:length] for row, keep in zip(stated, robust, strict=True) if keep}, key=str)
        return {key: np.array([row[:length] == key for row in stated]) & robust for key in found}

    whole = those(2)
    for (threat, dataset), chosen in whole.items():
        yield _Group(threat, dataset, None, chosen)
    for (threat, dataset, architecture), chosen in those(3).items():
        if architecture is not None and chosen.sum() < whole[threat, dataset].sum():
            yield _Group(threat, dataset, architecture, chosen)


def _of_group(zoo: Zoo, group: _Group) -> Iterator[dict[str, Any]]:
    models = zoo.dataset.models
    accuracy = {name: models[name].to_numpy().astype(float) for name in _ACCURACIES}
    first = zoo.layers.numbers("conv_depth") == 0
    for layers, rows in (("all", np.ones(len(zoo.layers), bool)), ("first", first)):
        values = {name: quality.paper_means(zoo, name, rows) for name in quality.MEASURES}
        if layers == "all":
            values["clean_accuracy"] = accuracy["clean_accuracy"]
        for target in ("robust_accuracy", "clean_accuracy"):
            for measure, numbers in values.items():
                found = None
                if measure != target:
                    found = _spearman(numbers[group.models], accuracy[target][group.models])
                if found is not None:
                    yield {
                        "accuracy": target,
                        "threat_model": group.threat_model,
                        "training_dataset": group.training_dataset,
                        "architecture": group.architecture,
                        "layers": layers,
                        "measure": measure,
                        **found,
                    }


def _group_name(row: dict[str, Any]) -> str:
    of = ", ".join(str(row[key]) for key in ("training_dataset", "threat_model", "architecture") if row[key])
    return of or "nothing stated"


def _label(row: dict[str, Any]) -> str:
    layers = "" if row["layers"] == "all" else ", first layer"
    return f"{row['accuracy']} ~ {row['measure']}{layers}, {_group_name(row)} ({row['models']})"


def _mean(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else np.nan


def rank_correlation(first: Doubles, second: Doubles, times: Doubles | None = None) -> Doubles:
    """(samples,): Spearman's rho of samples in which value i occurs `times[:, i]` times. Ties share their mean rank.

    first, second: (n,). times: (samples, n), integers with equal sums; None for each value once. NaN for a sample with
    only one distinct value.
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
    rho = float(rank_correlation(first, second)[0])
    if abs(rho) > 1 - _ROUNDING:
        # All samples agree as the networks do: they say nothing of how sure that is.
        return {"models": count, "rho": rho, "low": np.nan, "high": np.nan}
    low, high = widened(drawn[np.isfinite(drawn)], count).clip(-1, 1)
    return {"models": count, "rho": rho, "low": min(rho, float(low)), "high": max(rho, float(high))}


def _correlation_answers(rows: list[dict[str, Any]]) -> list[Answer]:
    found = []
    for measure, published in papers.SPEARMAN.items():
        wanted = {"accuracy": "robust_accuracy", "measure": measure, "architecture": None, "layers": "all"}
        ours = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
        summary = "; ".join(f"{_group_name(row)} {shown(row['rho'])}" for row in ours)
        found.append(Answer(published, summary or None))
    return found
