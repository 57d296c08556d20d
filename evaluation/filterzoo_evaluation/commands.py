"""The command `confidence`. Loaded at every start of `filterzoo`; what it needs is loaded when it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from filterzoo.commands.options import DEFAULT, WorkdirOption
from filterzoo.hooks import hookimpl
from filterzoo.reporting.terminal import cell, console, table


@hookimpl
def filterzoo_commands() -> Iterable[Callable[..., None]]:
    """What this room adds to the command line."""
    return (confidence,)


def confidence(
    logits: Annotated[list[Path], typer.Argument(metavar="LOGITS...", help="Parquet files of logits.")],
    *,
    workdir: WorkdirOption = DEFAULT,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each evaluation, nothing else.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the measures; keep nothing.")] = False,
) -> None:
    """Measure confidence from tables of logits; no network is run.

    The measures are kept in the work folder, and `filterzoo publish` adds those of published models to `confidences`.
    Exit code 0: all well; 2: a table is wrong, and nothing was kept.
    """
    from filterzoo.store.confidences import add_rows  # noqa: PLC0415  # Arrow, which other commands do not need
    from filterzoo.store.workfolder import WorkFolder  # noqa: PLC0415
    from filterzoo_evaluation.confidence import confidence_row  # noqa: PLC0415
    from filterzoo_evaluation.logits import read_evaluations  # noqa: PLC0415

    rows = [confidence_row(evaluation) for evaluation in read_evaluations(logits)]
    if not dry_run and rows:
        add_rows(WorkFolder(workdir).confidences, rows)
    if as_json:
        for row in rows:
            typer.echo(json.dumps(row))
    else:
        _show(rows)


_SHOWN = ("n", "accuracy", "over_confidence", "under_confidence", "ece", "auroc", "nll", "brier")


def _show(rows: Iterable[dict[str, Any]]) -> None:
    shown = table("model", "images", "attack", "eps", *_SHOWN, numbers=("eps", *_SHOWN))
    notes = []
    for row in rows:
        numbers = [_number(row[name]) for name in ("eps", *_SHOWN)]
        shown.add_row(cell(row["model_id"]), cell(row["image_set"]), cell(row["attack"]), *numbers)
        if row["accuracy"] < 0.5:
            notes.append(f"{row['model_id']} on {row['image_set']} ({row['attack']})")
    out = console()
    out.print(shown)
    if notes:
        out.print(cell(f"accuracy below 50 %, where ECE is hard to read: {', '.join(notes)}", longest=2000))


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"
