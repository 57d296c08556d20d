"""Evaluations that can be compared: rows of `confidences` with the metadata of their networks."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo.reporting.counts import counted
from filterzoo_analysis.zoo import Zoo

KINDS: tuple[str, ...] = ("normal", "robust", "not stated")
_SETTINGS = ("norm", "eps", "steps", "step_size", "restarts", "queries", "stop_rule", "seed")
_FACTS: tuple[str, ...] = ("robust", "architecture", "activation", "pooling", "pair_id")
_ATTACKS = {"none": "clean", "pgd": "PGD", "square": "Square"}
HALF = 0.5
"""Accuracy below which a calibration error is hard to interpret (arXiv:2210.05938)."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """A network on an image set under an attack. model: index of its row in `models`. row: its row of `confidences`.

    attack: its name in figures, with its settings, which are equal for all evaluations of an image set and attack.
    """

    model: int
    image_set: str
    attack: str
    row: dict[str, Any]
    facts: dict[str, Any]

    @property
    def column(self) -> str:
        """The attack without its settings, which may differ between image sets: a column of figures."""
        name = str(self.row["attack"])
        return _ATTACKS.get(name, name)

    @property
    def kind(self) -> str:
        """One of KINDS."""
        return KINDS[2] if self.facts["robust"] is None else KINDS[int(self.facts["robust"])]

    def number(self, column: str) -> float:
        """A measure; NaN if it is undefined."""
        value = self.row[column]
        return float("nan") if value is None else float(value)

    @property
    def cluster(self) -> str:
        """The resampling unit: its pair, or the network itself."""
        return str(self.facts["pair_id"] or self.row["model_id"])

    def counts(self) -> Doubles:
        """(4, bins): right, wrong, and the sums of their confidences."""
        return np.array([self.row[name] for name in ("n_right", "n_wrong", "z_right", "z_wrong")], dtype=np.float64)


def evaluations(zoo: Zoo) -> tuple[list[Evaluation], list[str]]:
    """The evaluations that are compared, and a sentence for each group of excluded ones.

    For each image set and attack, those with the most frequent settings and number of images, without copies and
    excluded networks. Sorted by image set, attack (clean, PGD, Square, others), model.
    """
    models = zoo.dataset.models
    place = {name: number for number, name in enumerate(models["model_id"].to_pylist()) if zoo.analysed[number]}
    facts: list[dict[str, Any]] = [
        dict(zip(_FACTS, row, strict=True)) for row in zip(*(models[n].to_pylist() for n in _FACTS), strict=True)
    ]
    groups: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in zoo.dataset.confidences.to_pylist():
        if row["model_id"] in place:
            groups[row["image_set"], row["attack"]].append(row)
    found, left = [], []
    for (image_set, attack), rows in sorted(groups.items(), key=lambda item: (item[0][0], _order(item[0][1]))):
        chosen, others = _most_frequent(rows)
        name = attack_name(chosen[0])
        found += [
            Evaluation(place[row["model_id"]], image_set, name, row, facts[place[row["model_id"]]]) for row in chosen
        ]
        if others:
            many = counted(others, "evaluation")
            left.append(f"Not compared: {many} on {image_set} ({attack}) with other settings than most ({name}).")
    return found, left


def attack_name(row: dict[str, Any]) -> str:
    """`clean`, `PGD Linf 8/255`, `Square L2 0.5`."""
    name = _ATTACKS.get(row["attack"], row["attack"])
    eps = "" if row["eps"] is None else f" {_fraction(row['eps'])}"
    return f"{name}{'' if row['norm'] is None else ' ' + row['norm']}{eps}"


@dataclass(frozen=True, slots=True)
class Grid:
    """The panels of a figure: image sets are its rows, attacks (without settings) its columns."""

    sets: tuple[str, ...]
    attacks: tuple[str, ...]

    @property
    def size(self) -> tuple[float, float]:
        """The size of the figure, in inches."""
        return 1.2 + 2.9 * len(self.attacks), 0.9 + 2.7 * len(self.sets)


def grid_of(found: list[Evaluation]) -> Grid:
    """The panels that these evaluations need, in their order."""
    sets, attacks = ([getattr(each, name) for each in found] for name in ("image_set", "column"))
    return Grid(tuple(dict.fromkeys(sets)), tuple(dict.fromkeys(attacks)))


def conditions(found: list[Evaluation]) -> dict[tuple[str, str], list[Evaluation]]:
    """(image set, attack) -> its evaluations, in their order."""
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for each in found:
        groups.setdefault((each.image_set, each.attack), []).append(each)
    return groups


def rates(counts: Doubles) -> tuple[Doubles, Doubles]:
    """(bins + 1,) shares of wrong and of right images above each bin edge, for edges from 1 down to 0."""
    right, wrong = counts[0, ::-1], counts[1, ::-1]
    false, true = (np.concatenate([[0.0], np.cumsum(each)]) / each.sum() for each in (wrong, right))
    return false, true


def error_of(own: list[Evaluation]) -> float:
    """The expected calibration error over the images of several evaluations."""
    right, wrong, z_right, z_wrong = np.sum([each.counts() for each in own], axis=0)
    return float(np.abs(right - z_right - z_wrong).sum() / (right + wrong).sum())


def warning(found: list[Evaluation]) -> str:
    """A sentence on evaluations below 50 % accuracy; "" if there are none."""
    below = [each for each in found if each.row["accuracy"] < HALF]
    if not below:
        return ""
    where = Counter(f"{each.image_set} ({each.attack})" for each in below)
    summary = ", ".join(f"{count} on {name}" for name, count in where.items())
    return f"Below 50 % accuracy, where the calibration error is hard to read: {summary}."


def _most_frequent(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
    """The rows with the most frequent settings, and the number of other rows."""
    by_settings: defaultdict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_settings[(*(row[name] for name in _SETTINGS), row["n"])].append(row)
    best = max(by_settings.values(), key=lambda own: (len(own), own[0]["n"], str(own[0])))
    return sorted(best, key=lambda row: str(row["model_id"])), len(rows) - len(best)


def _order(attack: str) -> tuple[int, str]:
    known = list(_ATTACKS)
    return (known.index(attack) if attack in known else len(known)), attack


def _fraction(eps: float) -> str:
    """`8/255` if eps is a multiple of 1/255, else the number."""
    steps = Fraction(eps * 255).limit_denominator(100)
    return f"{steps}/255" if steps.denominator == 1 and steps < 128 and abs(steps / 255 - eps) < 1e-9 else f"{eps:.3g}"
