"""Rows of `confidences` for synthetic networks, with effects that are known because they were planted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from tests.analysis import synthetic

from filterzoo.store.confidences import CONFIDENCE_SCHEMA
from filterzoo_analysis.zoo import Zoo, prepare
from filterzoo_evaluation.confidence import confidence_row
from filterzoo_evaluation.logits import Evaluation

ATTACKS: dict[str, dict[str, Any]] = {
    "none": {},
    "pgd": {"norm": "Linf", "eps": 8 / 255, "steps": 40, "stop_rule": "fixed_budget", "seed": 0},
    "square": {"norm": "Linf", "eps": 8 / 255, "queries": 5000, "stop_rule": "fixed_budget", "seed": 0},
}


def evaluated(
    model_id: str, rng: np.random.Generator, attack: str = "none", image_set: str = "digits", *,
    scale: float = 2.0, signal: float = 1.5, n: int = 120, **settings: Any,
) -> dict[str, Any]:  # fmt: skip
    """A network whose logits are larger by `scale`, so more confident, and righter with `signal`."""
    labels = rng.integers(0, 5, n)
    logits = rng.normal(size=(n, 5))
    logits[np.arange(n), labels] += signal
    key = dict.fromkeys(CONFIDENCE_SCHEMA.names[:11]) | {"model_id": model_id, "image_set": image_set, "attack": attack}
    key |= ATTACKS.get(attack, {}) | settings
    return confidence_row(Evaluation(key, [f"{number:03}" for number in range(n)], labels, logits * scale))


def zoo_of(models: Sequence[synthetic.Model], rows: Sequence[dict[str, Any]]) -> Zoo:
    return prepare(with_confidences(models, rows))


def with_confidences(models, rows):
    table = pa.Table.from_pylist(list(rows), schema=CONFIDENCE_SCHEMA)
    return replace(synthetic.dataset(models), confidences=table)


def pairs(
    rng: np.random.Generator, count: int, effect: float, *, per_normal: int = 1, spread: float = 0.3
) -> tuple[list[synthetic.Model], list[dict[str, Any]]]:
    """Pairs on two image sets; logits of robust networks are smaller by the factor 1 - effect."""
    models, rows = [], []
    for number in range(count):
        common = rng.normal(scale=spread)
        for kind in range(1 + per_normal):
            facts = {"pair_id": f"p{number}", "robust": kind > 0, "architecture": f"net{number % 2}"}
            made = synthetic.random_model(f"p{number}-{kind}", rng, depth=1, width=4, **facts)
            models.append(made)
            for image_set, attack in (("digits", "none"), ("digits", "pgd"), ("mnist", "none")):
                scale = (2 + common + rng.normal(scale=spread)) * (1 - effect * (kind > 0))
                signal = 0.4 if attack == "pgd" else 1.8
                rows.append(evaluated(made.model_id, rng, attack, image_set, scale=scale, signal=signal))
    return models, rows
