"""filterzoo crawl: read what the manifests name, measure it, keep it in the work folder."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from filterzoo import plugins as plugin_loading
from filterzoo.commands.crawl_options import (
    DeviceOption,
    DryRunOption,
    ExecutorOption,
    LimitOption,
    LogFormatOption,
    ManifestsArgument,
    MaxBytesOption,
    MaxHoursOption,
    MetricsOption,
    OnlyOption,
    PricesOption,
    QuietOption,
    RateOption,
    RayAddressOption,
    SizesOption,
    VerboseOption,
    WorkersOption,
)
from filterzoo.commands.options import DEFAULT, JsonOption, PluginOption, PrivateOption, StoreOption, WorkdirOption
from filterzoo.crawl.processes import fork_server
from filterzoo.crawl.processes.machine import LOCAL
from filterzoo.errors import StartError
from filterzoo.network.files.cache import default_folder
from filterzoo.reporting.counts import counted
from filterzoo.reporting.levels import Level, LogFormat
from filterzoo.reporting.terminal import console, printable, unless_closed
from filterzoo.store.workfolder import WorkFolder

if TYPE_CHECKING:
    from filterzoo.crawl.executor import Running
    from filterzoo.crawl.log import CrawlLog
    from filterzoo.crawl.pipeline import Event, Order
    from filterzoo.crawl.run_limits import Left, RunLimits
    from filterzoo.plugins import Plugins
    from filterzoo.reporting.summary import CrawlRun, Summary

STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names a file; https://docs.github.com/actions/reference/workflow-commands#adding-a-job-summary."""


def crawl(
    manifests: ManifestsArgument,
    *,
    workdir: WorkdirOption = DEFAULT,
    store: StoreOption = None,
    limit: LimitOption = None,
    only: OnlyOption = None,
    max_bytes: MaxBytesOption = None,
    max_hours: MaxHoursOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    executor: ExecutorOption = LOCAL,
    ray_address: RayAddressOption = None,
    dry_run: DryRunOption = False,
    sizes: SizesOption = False,
    rate: RateOption = None,
    prices: PricesOption = None,
    allow_private: PrivateOption = False,
    plugin: PluginOption = None,
    metrics_file: MetricsOption = None,
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    log_format: LogFormatOption = LogFormat.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Read every checkpoint that MANIFEST names, without running anything from it, and measure its convolutions.

    Run the same command again to do only what is missing. Exit code 0: all well; 1: a zoo could not be listed or some
    checkpoints failed (see `filterzoo status`); 2: it could not start, or its disk failed; 3: another crawl is working
    in the folder; 130 or 143: it was stopped by Ctrl-C or SIGTERM, and what was done is kept. A run that --max-bytes or
    --max-hours end says what is left, and ends as if that were all.

    Where GITHUB_STEP_SUMMARY names a file, a summary in Markdown is added to it.
    """
    if metrics_file is not None:
        _check_metrics_file(metrics_file)
    if not dry_run and (sizes or rate is not None or prices is not None):
        raise StartError("--rate, --prices and --sizes say what a dry run would cost: add --dry-run")
    level = _level(verbose=verbose, quiet=quiet, silent=as_json and log_format is LogFormat.TEXT)
    work = WorkFolder(workdir, store)
    with contextlib.ExitStack() as stack:
        if executor == LOCAL and not (dry_run or plugin or store) and fork_server.may_start_early(manifests):
            # The process whose forks are the workers imports as much as this one does, and does it at the same time.
            stack.enter_context(work)
            fork_server.start(work.sockets, plugins=fork_server.plugins_of(manifests, plugin_loading.references()))
        # Slow imports come while the fork server starts.
        from filterzoo.crawl.executor import ExecutorOptions  # noqa: PLC0415  # see above
        from filterzoo.crawl.log import CrawlLog  # noqa: PLC0415
        from filterzoo.crawl.pipeline import Order  # noqa: PLC0415
        from filterzoo.crawl.run_limits import RunLimits  # noqa: PLC0415
        from filterzoo.store.objects.base import check_url  # noqa: PLC0415

        if store is not None:
            check_url(store)
        references = plugin_loading.references(plugin or ())
        plugins = plugin_loading.load(references, plugin_loading.named_in(manifests, executor))
        order = Order(
            manifests=tuple(path.absolute() for path in manifests),
            plugins=tuple(references),
            work=work,
            cache=default_folder(),
            executor=executor,
            options=ExecutorOptions(workers=workers, address=ray_address),
            device=device,
            allow_private=allow_private,
            limit=limit,
            only=only,
        )
        if dry_run:
            from filterzoo.commands.crawl_plan import show_plan  # noqa: PLC0415  # as above

            show_plan(order, plugins, rate, prices, asks_sizes=sizes, as_json=as_json)
            return
        limits = RunLimits(_bytes_of(max_bytes), max_hours)
        log = CrawlLog(level, log_format)
        summary = _run(order, plugins, limits, metrics_file, log)
    _report(summary, log.run(), metrics_file)
    with unless_closed():
        _show(summary, log, limits.left, workdir, as_json=as_json)
    if log.failed:
        raise typer.Exit(1)


def _run(order: Order, plugins: Plugins, limits: RunLimits, metrics_file: Path | None, log: CrawlLog) -> Summary:
    """The state of the work folder after the crawl; what the crawl does is shown by `log`."""
    from filterzoo.crawl.pipeline import crawl  # noqa: PLC0415  # as above
    from filterzoo.stopping import Stopped  # noqa: PLC0415  # as above

    with log, _watched(log, metrics_file) as (on_event, on_running):
        order = replace(order, options=replace(order.options, on_running=on_running))
        try:
            return crawl(order, plugins, on_event, limits, log.listing)
        except Stopped as stopped:
            stopped.kept = f"{counted(log.new, 'new checkpoint')} kept in {printable(str(order.work.path))}"
            raise


@contextlib.contextmanager
def _watched(
    log: CrawlLog, metrics_file: Path | None
) -> Iterator[tuple[Callable[[Event], None], Callable[[Running], None]]]:
    """The callbacks for events and for running tasks: the log, and the metrics of the run."""
    if metrics_file is None:
        yield log.show, log.running
        return
    from filterzoo.crawl.executor import Running  # noqa: PLC0415  # as above
    from filterzoo.reporting.metrics import RunningMetrics  # noqa: PLC0415  # as above

    live = RunningMetrics(metrics_file)
    now = [Running()]

    def on_event(event: Event) -> None:
        log.show(event)
        live.update(log.run(), now[0])

    def on_running(running: Running) -> None:
        now[0] = running
        log.running(running)
        live.update(log.run(), running)

    try:
        yield on_event, on_running
    finally:
        live.end()


def _bytes_of(stated: str | None) -> int | None:
    """A size in bytes, 0 to list only; StartError for an invalid one."""
    from filterzoo.manifests.quantities import parse_size  # noqa: PLC0415  # as above

    try:
        return None if stated is None else 0 if stated.strip() == "0" else parse_size(stated)
    except ValueError as error:
        raise StartError(f"--max-bytes: {error}") from error


def _show(summary: Summary, log: CrawlLog, left: Left, workdir: Path, *, as_json: bool) -> None:
    """Print what this run did, and the state of the work folder after it."""
    from filterzoo.commands.status import show  # noqa: PLC0415  # as above

    if as_json:
        rest = {"left": left.document()} if left.checkpoints else {}
        typer.echo(json.dumps({**summary.document(), "run": log.run().document(), **rest}))
        return
    console().print(f"{log.new} new, {log.known} already there in {printable(str(workdir))}")
    show(summary)
    if left.checkpoints:
        console().print(_left(left))


def _left(left: Left) -> str:
    """What is left for the next run, on one line."""
    unknown = f", {left.unknown_sizes:,} of them of unknown size" if left.unknown_sizes else ""
    more = "" if left.is_counted else " at least: the time was over before all was listed"
    amount = f"{counted(left.checkpoints, 'checkpoint')}, {counted(left.bytes, 'byte')}"
    return f"left for the next run: {amount}{unknown}{more}"


def _level(*, verbose: bool, quiet: bool, silent: bool) -> Level:
    """StartError where both are asked for."""
    if verbose and quiet:
        raise StartError("--verbose and --quiet exclude each other; choose one")
    if silent:
        return Level.NOTHING
    return Level.ALL if verbose else Level.FAILURES if quiet else Level.NEWS


def _report(summary: Summary, run: CrawlRun, metrics_file: Path | None) -> None:
    """Write the metrics and the step summary after a run."""
    if metrics_file is not None:
        from filterzoo.reporting import metrics  # noqa: PLC0415  # its library is for those who ask for metrics

        metrics.write(metrics_file, summary, run)
    if file := os.environ.get(STEP_SUMMARY):
        from filterzoo.reporting import step_summary  # noqa: PLC0415  # as above

        step_summary.append(Path(file), summary, run)


def _check_metrics_file(file: Path) -> None:
    """StartError if `file` cannot be written: checked before the crawl, not after it."""
    if find_spec("prometheus_client") is None:
        raise StartError("--metrics needs prometheus-client: pip install 'filterzoo[metrics]'")
    folder = file.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StartError(f"--metrics {file}: there is no folder {folder} that can be written to; make it first")
    if file.is_dir():
        raise StartError(f"--metrics {file}: is a folder; name a file in it, such as {file / 'filterzoo.prom'}")
