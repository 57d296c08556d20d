"""Checks `confidences`: rows are sorted, unique, and about published models; measures follow from their counts."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from filterzoo.store.confidences import row_key
from filterzoo_publish.verify.problems import Examination

_TOLERANCE = 1e-9


def check_confidences(examination: Examination, models: Collection[str]) -> None:
    """Report rows that `filterzoo confidence` cannot have written."""
    former: tuple[Any, ...] | None = None
    for path, _, table in examination.row_groups("confidences"):
        for row in table.to_pylist():
            key = row_key(row)
            name = f"{row['model_id']} on {row['image_set']}"
            if former is not None and key <= former:
                examination.report("order", path, f"{ascii(name)[:200]} is not in order, or there twice")
            former = key
            if row["model_id"] not in models:
                examination.report("confidences", path, f"{ascii(name)[:200]} is of a model that is not there")
            elif wrong := _wrong(row):
                examination.report("confidences", path, f"{ascii(name)[:200]}: {wrong} does not follow from the counts")


def _wrong(row: dict[str, Any]) -> str | None:
    """The first measure that the row's counts contradict."""
    if any(value is None for name in ("n_right", "n_wrong", "z_right", "z_wrong") for value in row[name]):
        return "a count"
    n_right, n_wrong = sum(row["n_right"]), sum(row["n_wrong"])
    if n_right + n_wrong != row["n"] or min(*row["n_right"], *row["n_wrong"]) < 0 or row["n"] < 1:
        return "n"
    z_right, z_wrong = math.fsum(row["z_right"]), math.fsum(row["z_wrong"])
    bins = zip(row["n_right"], row["z_right"], row["z_wrong"], strict=True)
    expected = {
        "accuracy": n_right / row["n"],
        "over_confidence": z_wrong / n_wrong if n_wrong else None,
        "under_confidence": 1 - z_right / n_right if n_right else None,
        "ece": math.fsum(abs(count - right - wrong) for count, right, wrong in bins) / row["n"],
    }
    return next((name for name, value in expected.items() if not _close(row[name], value)), None)


def _close(found: float | None, expected: float | None) -> bool:
    if found is None or expected is None:
        return found is expected
    return abs(found - expected) <= _TOLERANCE
