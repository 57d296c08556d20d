"""The command `publish`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from filterzoo.commands.options import DEFAULT, JsonOption, StoreOption, WorkdirOption
from filterzoo.reporting.counts import counted
from filterzoo.reporting.terminal import console, printable, table
from filterzoo_publish.commands.options import PullRequestOption, ReleaseOption, TargetArgument

if TYPE_CHECKING:
    from rich.table import Table

    from filterzoo_publish.report import Report
    from filterzoo_publish.shards.parquet import Shard


def publish(
    target: TargetArgument,
    *,
    workdir: WorkdirOption = DEFAULT,
    store: StoreOption = None,
    origins: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="FOLDER|REPO",
            help="Publish the rows of a published data set instead of a work folder; may be repeated.",
        ),
    ] = None,
    create_pr: PullRequestOption = False,
    private: Annotated[bool, typer.Option("--private", help="A new repository on the Hub is private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be added; write nothing.")] = False,
    release: ReleaseOption = None,
    doi: Annotated[
        str | None,
        typer.Option("--doi", metavar="DOI", help="The data set's DOI, for its citation; later releases keep it."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add what is new in the work folder to the data set at TARGET, in one step; nothing new changes nothing.

    With --from, rows of other data sets are copied as they are, and layers that are there already are pointed to.
    Exit code 0: all well; 2: it could not start, or TARGET refused.
    """
    from filterzoo.store.arrow import leave_pandas_out  # noqa: PLC0415
    from filterzoo_publish import release as releasing  # noqa: PLC0415
    from filterzoo_publish.card.citation import checked_doi  # noqa: PLC0415
    from filterzoo_publish.merge import merging  # noqa: PLC0415  # these take a second that other commands do not need
    from filterzoo_publish.plan.plan import open_work  # noqa: PLC0415

    leave_pandas_out()
    place = releasing.target_for(target, workdir=workdir, create_pr=create_pr, private=private)
    place.doi = None if doi is None else checked_doi(doi)
    watch = None if as_json else _show_file
    work = merging.open_datasets(origins) if origins else open_work(workdir, store)
    report = releasing.publish_work(work, place, release=release, dry_run=dry_run, watch=watch)
    if as_json:
        typer.echo(json.dumps(report.document()))
    else:
        _show_report(target, report)


def _show_file(shard: Shard) -> None:
    console(to_stderr=True).print(f"written  {shard.path}: {counted(shard.rows, 'row')}, {counted(shard.size, 'byte')}")


def _show_report(target: str, report: Report) -> None:
    out = console()
    name = printable(target)
    if report.is_empty:
        out.print(f"{name}: nothing new")
    else:
        verb = "would add" if report.dry_run else "added"
        models, layers = counted(sum(report.models.values()), "model"), counted(report.layers, "layer")
        counts = f"{models}, {layers}, {counted(report.filters, 'filter')}"
        size = f"{report.weight_bytes:,} bytes of weights before compression"
        skipped = f"skipped holds {counted(report.skipped, 'entry', 'entries')}"
        out.print(f"{name}: {verb} {counts}; {size}; {skipped}; release {report.release}")
        if report.models:
            out.print(_sources(report))
            out.print(_licences(report))
    if report.changed:
        first = printable(report.changed[0])
        out.print(
            f"{len(report.changed):,} published models have other facts in the work folder ({first}, ...); their rows "
            "stay as they were published: publish to a new place to have them"
        )
    for word in (report.url, report.tag):
        if word:
            out.print(printable(word, 400))


def _sources(report: Report) -> Table:
    made = table("source", "models", "layers", "filters", numbers=("models", "layers", "filters"))
    for source, rows in report.rows.items():
        made.add_row(source, *(f"{rows[kind]:,}" for kind in ("models", "layers", "filters")))
    return made


def _licences(report: Report) -> Table:
    made = table("licence class", "models", numbers=("models",))
    for name, count in sorted(report.licences.items()):
        made.add_row(name, f"{count:,}")
    return made
