"""Checks the numbers of a query: `depth`, `limit`, and bounds of measures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, TypedDict

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.words import listed, near_matches


class Bounds(TypedDict, total=False):
    """The most common bounds. Any other numeric column of `layers` is accepted as well."""

    min_n_filters: int | None
    max_n_filters: int | None
    min_sparsity: float | None
    max_sparsity: float | None
    min_orthogonality: float | None
    max_orthogonality: float | None
    min_variance_entropy: float | None
    max_variance_entropy: float | None
    min_l1_norm: float | None
    max_l1_norm: float | None
    min_l2_norm: float | None
    max_l2_norm: float | None
    min_spectral_norm: float | None
    max_spectral_norm: float | None
    min_stable_rank: float | None
    max_stable_rank: float | None
    min_effective_rank: float | None
    max_effective_rank: float | None
    min_power_law_alpha: float | None
    max_power_law_alpha: float | None


def check_bounds(bounds: Mapping[str, float | None], keywords: list[str]) -> None:
    """TypeError for an unknown keyword or a value that is not a number; ValueError for NaN and an empty range."""
    for keyword, value in bounds.items():
        if not keyword.startswith(("min_", "max_")):
            near = near_matches(keyword, [*keywords, *Bounds.__annotations__])
            others = "other columns of layers are chosen by `where`, models of your choice by `models`"
            hint = f"did you mean {listed(near)}?" if near else f"known: {', '.join(keywords)}, min_ and max_; {others}"
            raise TypeError(f"{keyword!a} is no keyword of a query; {hint}")
        if value is not None:
            _number(keyword, value)
    for keyword, lowest in bounds.items():
        highest = bounds.get(f"max_{keyword[4:]}")
        if keyword.startswith("min_") and lowest is not None and highest is not None and lowest > highest:
            raise ValueError(f"{keyword}: {lowest} is above max_{keyword[4:]}, {highest}")


def condition_of(bounds: Mapping[str, float | None], schema: pa.Schema) -> pc.Expression | None:
    """All bounds (inclusive) as one condition; ValueError for a bound of a column that is not numeric."""
    numbers = [field.name for field in schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]
    condition = None
    for keyword, value in bounds.items():
        if value is None:
            continue
        column = keyword[4:]
        if column not in numbers:
            near = near_matches(column, numbers)
            hint = f"did you mean {listed([keyword[:4] + name for name in near])}?" if near else ""
            raise ValueError(
                f"{keyword}: {column!a} is no column of numbers in layers; {hint or f'known: {listed(numbers)}'}"
            )
        field = pc.field(column)
        part = field >= value if keyword.startswith("min_") else field <= value
        condition = part if condition is None else condition & part
    return condition


def check_depth(depth: Any) -> None:
    """ValueError unless it is (lowest, highest) within 0 and 1; TypeError for anything but two numbers."""
    if depth is None:
        return
    if not isinstance(depth, (tuple, list)) or len(depth) != 2:
        raise TypeError(f"depth: takes two numbers, the lowest and the highest, not {ascii(depth)[:80]}")
    for value in depth:
        _number("depth", value)
    if not 0 <= depth[0] <= depth[1] <= 1:
        raise ValueError(f"depth: {tuple(depth)} is no range from 0 (the first convolution) to 1 (the last)")


def check_limit(limit: Any) -> None:
    """ValueError for a negative number of filters, TypeError for anything but an integer."""
    if limit is None:
        return
    if not isinstance(limit, Integral) or isinstance(limit, bool):
        raise TypeError(f"limit: takes a whole number of filters, not {ascii(limit)[:80]}")
    if limit < 0:
        raise ValueError(f"limit: {limit} is negative; it is the most filters to give")


def _number(keyword: str, value: Any) -> None:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{keyword}: takes a number, not {ascii(value)[:80]}")
    if math.isnan(value):
        raise ValueError(f"{keyword}: NaN is above and below nothing")
