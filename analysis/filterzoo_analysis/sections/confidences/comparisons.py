"""Exhibits of many comparisons, as points with intervals, with p values adjusted for their number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from filterzoo_analysis import figures
from filterzoo_analysis.drift.uncertainty import RATE, adjusted_list
from filterzoo_analysis.exhibits import WIDE, Answer, Exhibit, interval, query_of, table_of
from filterzoo_analysis.zoo import Zoo

Row = dict[str, Any]


def judged(rows: Sequence[Mapping[str, Any]], flag: str) -> list[Row]:
    """Adds `q`, which is `p` adjusted for all rows (Benjamini & Hochberg), and the column `flag`: q is at most RATE."""
    q = adjusted_list(np.array([row["p"] for row in rows], dtype=float))
    return [{**row, "q": each, flag: bool(each <= RATE)} for row, each in zip(rows, q, strict=True)]


def described(row: Mapping[str, Any], about: str, value: str) -> str:
    """`about, digits, clean: 0.31 [0.28, 0.35]`."""
    return f"{about}, {row['image_set']}, {row['attack']}: {interval(row[value], row['low'], row['high'])}"


def exhibit(
    zoo: Zoo,
    rows: Sequence[Mapping[str, Any]],
    drawn: Sequence[Mapping[str, Any]],
    *,
    name: str,
    title: str,
    summary: str,
    query: str,
    value: str,
    flag: str,
    about: Callable[[Mapping[str, Any]], str],
    count: str,
    axis: str,
    notes: tuple[str, ...],
    answers: tuple[Answer, ...] = (),
) -> Exhibit:
    """An exhibit of comparisons. rows: those of the table, from `judged`. drawn: those of the figure.

    about: the label of a row. value: the column of the points; their intervals are `low` and `high`. flag: the column
    that says which points are drawn strongly. count: the column of the number in brackets. axis: the label of the x
    axis. Empty notes are left out.
    """
    labels = [f"{about(row)}, {row['image_set']}, {row['attack']} ({row[count]})" for row in drawn]
    return Exhibit(
        name=name,
        title=title,
        summary=summary,
        table=table_of({key: [row[key] for row in rows] for key in rows[0]}),
        query=query_of(zoo, query),
        draw=partial(
            figures.intervals,
            labels=labels,
            found=np.array([[row[key] for row in drawn] for key in (value, "low", "high")], dtype=float),
            label=axis,
            stands_out=[row[flag] for row in drawn],
        ),
        size=(WIDE, 1.2 + 0.28 * len(drawn)),
        notes=tuple(filter(None, notes)),
        answers=answers,
    )
