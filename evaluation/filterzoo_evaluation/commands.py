"""The commands `evaluate` and `confidence`. Their imports happen when they run."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from filterzoo.commands.options import DEFAULT, JsonOption, PluginOption, PrivateOption, WorkdirOption
from filterzoo.errors import StartError, writing_to
from filterzoo.reporting.terminal import cell, console, printable, table
from filterzoo_evaluation.options import (
    AttackOption,
    BatchOption,
    DeviceOption,
    EpsOption,
    FirstOption,
    ImageSetOption,
    ImagesOption,
    ManifestsArgument,
    NetworkOption,
    NormOption,
    OutputOption,
    QueriesOption,
    RestartsOption,
    RunOnnxOption,
    SeedOption,
    StepSizeOption,
    StepsOption,
    WorkersOption,
)

if TYPE_CHECKING:
    from filterzoo_evaluation.attacks.attack import Attack, Norm


def evaluate(
    manifests: ManifestsArgument,
    *,
    images: ImagesOption,
    image_set: ImageSetOption = None,
    first: FirstOption = None,
    network: NetworkOption = None,
    run_onnx: RunOnnxOption = False,
    attack: AttackOption = "none",
    norm: NormOption = "Linf",
    eps: EpsOption = 8 / 255,
    steps: StepsOption = 40,
    step_size: StepSizeOption = None,
    restarts: RestartsOption = 1,
    queries: QueriesOption = 5000,
    seed: SeedOption = 0,
    output: OutputOption = Path("filterzoo-logits"),
    device: DeviceOption = "auto",
    batch: BatchOption = 100,
    workers: WorkersOption = 2,
    allow_private: PrivateOption = False,
    plugin: PluginOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the networks that MANIFEST names on images, and write their logits.

    Only installed architectures are run, with weights that the safe reader read: nothing of a crawled file is executed.
    Run the same command again to do only what is missing. Exit code 0: all well; 1: some networks could not be
    evaluated; 2: it could not start.
    """
    import torch  # noqa: PLC0415  # seconds that other commands do not need

    from filterzoo import plugins as plugin_loading  # noqa: PLC0415
    from filterzoo.network.files.cache import default_folder  # noqa: PLC0415
    from filterzoo_evaluation import evaluate as evaluation  # noqa: PLC0415
    from filterzoo_evaluation.images.opening import open_images  # noqa: PLC0415
    from filterzoo_evaluation.networks.trusted import trusted  # noqa: PLC0415

    if device == "cuda" and not torch.cuda.is_available():
        raise StartError("--device cuda: torch finds no GPU here; use --device cpu")
    if network is not None:
        trusted(network)
    with tempfile.TemporaryDirectory(prefix="filterzoo-") as scratch:
        wanted = evaluation.EvaluationRequest(
            manifests=tuple(path.absolute() for path in manifests),
            images=open_images(images, image_set).first(first),
            output=output,
            scratch=Path(scratch),
            cache=default_folder(),
            attack=_attack(attack, norm, eps, steps, step_size, restarts, queries, seed),
            network=network,
            run_onnx=run_onnx,
            device="cuda" if device != "cpu" and torch.cuda.is_available() else "cpu",
            batch=batch,
            workers=min(workers, os.cpu_count() or 1),
            allow_private=allow_private,
        )
        plugins = plugin_loading.load(plugin_loading.references(plugin or ()))
        failed = _run(wanted, plugins, as_json=as_json)
    if failed:
        raise typer.Exit(1)


def _attack(  # noqa: PLR0917  # the options of the command, in its order
    attack: str,
    norm: Norm,
    eps: float,
    steps: int,
    step_size: float | None,
    restarts: int,
    queries: int,
    seed: int,
) -> Attack | None:
    from filterzoo_evaluation.attacks.pgd import ProjectedGradientDescent  # noqa: PLC0415  # as above
    from filterzoo_evaluation.attacks.square import Square  # noqa: PLC0415

    if attack == "pgd":
        return ProjectedGradientDescent(norm, eps, steps=steps, step_size=step_size, restarts=restarts, seed=seed)
    return Square(norm, eps, queries=queries, seed=seed) if attack == "square" else None


def _run(wanted: Any, plugins: Any, *, as_json: bool) -> int:
    """Show the result of each network; returns the number of failures."""
    from rich.progress import Progress  # noqa: PLC0415

    from filterzoo.outcome import LedgerEntry  # noqa: PLC0415
    from filterzoo_evaluation.evaluate import evaluate as run  # noqa: PLC0415
    from filterzoo_evaluation.progress import progress_columns  # noqa: PLC0415

    out, failed = console(to_stderr=True), 0
    with Progress(*progress_columns(), console=out, disable=not out.is_terminal) as bar:
        task = bar.add_task("images", total=None)
        for found in run(wanted, plugins, lambda count: bar.advance(task, count)):
            if isinstance(found, LedgerEntry):
                failed += not found.reason.is_skip
                entry: dict[str, Any] = {
                    "source": found.source,
                    "id": found.id,
                    "reason": str(found.reason),
                    "detail": found.detail,
                }
                line = printable(f"left out  {found.source}/{found.id}: {found.reason}: {found.detail}", 400)
            else:
                entry = {"model_id": found.model_id, "logits": str(found.place), "new": found.is_new}
                line = printable(f"{'written ' if found.is_new else 'there   '}  {found.model_id}: {found.place}", 400)
            typer.echo(json.dumps(entry) if as_json else line)
    return failed


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
        folder = WorkFolder(workdir)
        folder.check()
        with writing_to(folder.confidences):
            add_rows(folder.confidences, rows)
        if not folder.journal_path.is_file():
            note = f"no crawl has been in {workdir} yet: the measures are published once it has crawled these models"
            typer.echo(f"filterzoo: {printable(note, 500)}", err=True)
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
