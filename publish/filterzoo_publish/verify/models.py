"""Checks `models`: order, ids, folders, duplicates."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from filterzoo_publish.verify.problems import Examination

Model = dict[str, Any]
"""A row of `models`."""


def model_key(model: Model) -> tuple[str, str, str]:
    """The key that sorts models."""
    return model["source"], model["id"], model["revision"]


def check_models(examination: Examination) -> dict[str, Model]:
    """Check all rows; returns the models by id."""
    models: dict[str, Model] = {}
    last: dict[str, tuple[str, str, str]] = {}
    names: defaultdict[str, list[str]] = defaultdict(list)
    for path, _, table in examination.row_groups("models"):
        names[path] += table["model_id"].to_pylist()
        for model in table.to_pylist():
            name, key = model["model_id"], model_key(model)
            if name != "{}/{}@{}".format(*key):
                examination.report("id", path, f"{name} is not its source, id and revision")
            if name in models:
                examination.report("unique", path, f"{name} is there twice")
            if key < last.get(path, key):
                examination.report("order", path, f"{name} follows a later model")
            examination.check_folder(path, model)
            last[path] = key
            models[name] = model
    for path, own in names.items():
        examination.check_cards(path, own)
    _check_twins(examination, models)
    return models


def _check_twins(examination: Examination, models: dict[str, Model]) -> None:
    """Of models with the same weights, all but one must name that one in `duplicate_of`."""
    first: dict[str, str] = {}
    for name, model in models.items():
        if model["weights_id"] is not None and model["duplicate_of"] is None:
            other = first.setdefault(model["weights_id"], name)
            if other != name:
                examination.report("duplicate", name, f"has the weights of {other} and does not say so")
    for name, model in models.items():
        twin = model["duplicate_of"]
        if twin is not None and first.get(model["weights_id"]) != twin:
            examination.report("duplicate", name, f"is no duplicate of {twin}")
