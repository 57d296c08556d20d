"""The command `verify`."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from filterzoo.commands.options import JsonOption
from filterzoo.reporting.terminal import console, printable
from filterzoo_publish.commands.options import TargetArgument

if TYPE_CHECKING:
    from filterzoo_publish.verify.problems import Problem

_SHOWN = 10
"""Largest number of problems of a kind that are shown one by one."""


def verify(
    target: TargetArgument,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Measure every layer again, not a sample; takes as a crawl.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the data set at TARGET: hashes, schema, order, ids, counts, and that every layer's filters are there.

    Of one layer in sixteen the measures are computed again from its filters, of all with --full.

    Exit code 0: sound; 1: there are problems; 2: there is no such data set.
    """
    from filterzoo_publish.verify import checks  # noqa: PLC0415  # a second that other commands do not need

    problems = checks.verify(target, full=full)
    if as_json:
        found = [{"check": problem.check, "where": problem.where, "detail": problem.detail} for problem in problems]
        typer.echo(json.dumps({"target": target, "problems": found}))
    else:
        _show_problems(target, problems)
    if problems:
        raise typer.Exit(1)


def _show_problems(target: str, problems: list[Problem]) -> None:
    out = console()
    counts: Counter[str] = Counter()
    for problem in problems:
        counts[problem.check] += 1
        if counts[problem.check] <= _SHOWN:
            out.print(printable(f"{problem.check}: {problem.where}: {problem.detail}", 600))
    found = ", ".join(f"{check} {count:,}" for check, count in sorted(counts.items()))
    out.print(f"{printable(target)}: {found or 'sound'}")
