"""The command `takedown`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from filterzoo.commands.options import DEFAULT, JsonOption, WorkdirOption
from filterzoo.errors import StartError
from filterzoo.reporting.counts import counted
from filterzoo.reporting.terminal import console, printable
from filterzoo_publish.commands.options import PullRequestOption, ReleaseOption, TargetArgument

if TYPE_CHECKING:
    from rich.console import Console

    from filterzoo_publish.takedown.takedown import TakedownReport

_ON_THE_HUB = """\
{name}: the newest state is free of it; older commits and tags still hold it. To purge them for good, as its owner:
  1. delete every older tag: `HfApi().delete_tag("{name}", tag=TAG, repo_type="dataset")`
  2. join the history into one commit: `HfApi().super_squash_history("{name}", repo_type="dataset")`
  3. delete the files themselves: `HfApi().list_lfs_files("{name}", repo_type="dataset")` lists them;
     `HfApi().permanently_delete_lfs_files("{name}", files, repo_type="dataset")` deletes those named above as removed
Steps 2 and 3 cannot be undone, and older releases can then no longer be loaded."""
_IN_A_FOLDER = "{name}: the folder is free of it; delete it from copies, backups and version control yourself."


def takedown(
    target: TargetArgument,
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="ID", help="A model: source/id@revision, or source/id for every revision; or a glob."
        ),
    ] = None,
    repo: Annotated[
        list[str] | None,
        typer.Option("--repo", metavar="PREFIX", help="All models whose source/id begins with PREFIX, up to a /."),
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option("--licence", metavar="L", help="All models under a licence or licence class.")
    ] = None,
    in_advance: Annotated[
        bool, typer.Option("--in-advance", help="Also refuse what no model of the data set matches yet.")
    ] = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Withdraw requests that were made before; nothing is removed.")
    ] = False,
    workdir: WorkdirOption = DEFAULT,
    create_pr: PullRequestOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be removed; write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; scripts need it.")] = False,
    release: ReleaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove models from the data set at TARGET and refuse them from then on; `verify` proves that they are gone.

    What will go is shown first. Only files that hold something of it are rewritten; layers that other models have too
    stay. A glob means the models that are there, not later ones. Exit code 0: all well; 2: nothing matches, it was not
    confirmed, it could not start, or TARGET refused.
    """
    from filterzoo_publish import release as releasing  # noqa: PLC0415  # a second that other commands do not need
    from filterzoo_publish.takedown.takedown import take_down  # noqa: PLC0415
    from filterzoo_publish.takedown.takedowns import TakedownKind  # noqa: PLC0415

    named = ((TakedownKind.MODEL, model), (TakedownKind.REPO, repo), (TakedownKind.LICENCE, licence))
    requests = [(kind, value) for kind, values in named for value in values or () if value.strip("/ ")]
    if not requests:
        raise StartError("takedown: name what is to go: --model ID, --repo PREFIX or --licence L")

    def run(*, dry_run: bool) -> TakedownReport:
        place = releasing.target_for(target, workdir=workdir, create_pr=create_pr)
        return take_down(place, requests, release=release, dry_run=dry_run, in_advance=in_advance, withdraw=withdraw)

    if not dry_run:
        # An interrupted release is finished first: between two states, requests cannot be matched.
        releasing.target_for(target, workdir=workdir, create_pr=create_pr).resume()
    report = run(dry_run=True)
    if not dry_run and report.release is not None:
        if not yes:
            _confirm(target, report)
        report = run(dry_run=False)
    if as_json:
        typer.echo(json.dumps(report.document()))
    else:
        _show(target, report)


def _confirm(target: str, report: TakedownReport) -> None:
    """Show what would be removed and ask for confirmation; StartError without it."""
    _show(target, report, console(to_stderr=True))
    if not sys.stdin.isatty():
        raise StartError(f"{target}: nothing was changed: no terminal to confirm on; --yes needs none, --dry-run shows")
    if not typer.confirm("Go on?", err=True):
        raise StartError(f"{target}: nothing was changed")


def _show(target: str, report: TakedownReport, out: Console | None = None) -> None:
    out = out or console()
    name = printable(target)
    if report.release is None:
        out.print(f"{name}: nothing new: it is refused already, and nothing of it is there")
        return
    for request in report.withdrawn:
        out.print(f"{'would withdraw' if report.dry_run else 'withdrew'}  {printable(request, 400)}")
    if report.withdrawn:
        return
    verb = "would remove" if report.dry_run else "removed"
    layers = counted(report.moved_layers, "layer stays", "layers stay")
    out.print(f"{name}: {verb} {counted(len(report.models), 'model')}; {layers} under other models")
    for model in report.models:
        out.print(f"{verb}  {printable(model, 400)}")
    for path in report.removed:
        out.print(f"removed  {path}")
    for word in (report.url, report.tag):
        if word:
            out.print(printable(word, 400))
    if report.models and not report.dry_run:
        from filterzoo.dataset.published import is_hub_name  # noqa: PLC0415  # its tools are not needed to start

        out.print((_ON_THE_HUB if is_hub_name(target) else _IN_A_FOLDER).format(name=name))
