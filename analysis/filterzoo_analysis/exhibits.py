"""The records of a report: sections of exhibits (a figure, its table, its query)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from filterzoo_analysis.published_numbers import PublishedNumber
from filterzoo_analysis.tables.selection import SUSPECTED_RANDOM
from filterzoo_analysis.zoo import Zoo

WIDE = 12.8
"""Inches: the width of a figure that fills the page."""
Draw = Callable[[Any], None]
"""Draws on an empty matplotlib figure."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A published number, and the same number of this data set, `ours`; None if it has none."""

    published: PublishedNumber
    ours: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """A figure. name: that of its files. summary: its content in numbers, also its alternative text. size: in inches.

    draw: None for an exhibit that is only a table. query: Python that reproduces the table.
    """

    name: str
    title: str
    summary: str
    table: pa.Table
    query: str
    draw: Draw | None = None
    size: tuple[float, float] = (WIDE, 4.5)
    notes: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """A group of exhibits. empty: sentences on what is missing and why."""

    name: str
    title: str
    about: str
    exhibits: tuple[Exhibit, ...] = ()
    empty: tuple[str, ...] = field(default=())


def query_of(zoo: Zoo, call: str, **arguments: object) -> str:
    """Python that reproduces an exhibit's table. call: `module.function` in `filterzoo_analysis.sections`."""
    path, _, function = call.rpartition(".")
    package, _, module = f"filterzoo_analysis.sections.{path}".rpartition(".")
    given = "".join(f", {name}={value!r}" for name, value in arguments.items())
    chosen = f", where={zoo.where!r}" if zoo.where else ""
    if zoo.exclude != (SUSPECTED_RANDOM,):
        chosen += f", exclude={zoo.exclude!r}"
    return (
        f"from {package} import {module}\n"
        "from filterzoo_analysis.zoo import read\n\n"
        f"zoo = read({zoo.dataset.name!r}, variant={str(zoo.coefficients.variant)!r}{chosen})\n"
        f"table = {module}.{function}(zoo{given}).table"
    )


def table_of(columns: Mapping[str, Sequence[Any] | np.ndarray[Any, Any]]) -> pa.Table:
    """A table of the columns, with null for NaN."""
    return pa.table({name: pa.array(list(values), from_pandas=True) for name, values in columns.items()})


def shown(value: float | None, digits: int = 3) -> str:
    """A number with `digits` decimals; a dash for None and for NaN."""
    if value is None or not np.isfinite(value):
        return "-"
    # Rounded first, and without the sign of a zero.
    return f"{round(value, digits) + 0.0:.{digits}f}"


def interval(mean: float, low: float, high: float, digits: int = 3) -> str:
    """`0.31 [0.28, 0.35]`, or `0.31 (no interval)`."""
    if not np.isfinite(low):
        return f"{shown(mean, digits)} (no interval)"
    return f"{shown(mean, digits)} [{shown(low, digits)}, {shown(high, digits)}]"
