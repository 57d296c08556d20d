"""Metrics of a crawl for Prometheus, as a file that the node exporter's textfile collector reads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from filterzoo.crawl.executor import Running
from filterzoo.errors import StorageFailed, remedy, system_says
from filterzoo.reporting.summary import CrawlRun, Summary

PERIOD = 10.0
"""Seconds between two writes while a crawl runs."""
MOST_KERNELS = 20
"""Kernel sizes with a time series. Others share one, because files can have arbitrary sizes and a series is never
removed."""


def write(file: Path, summary: Summary, run: CrawlRun) -> None:
    """Write the state of the work folder and the run's counts to `file`, atomically; StorageFailed."""
    registry = CollectorRegistry(auto_describe=False)
    document = summary.document()
    _gauges(registry, "checkpoints", "Checkpoints of the work folder.", "state", document["checkpoints"])
    _gauges(registry, "filters", "Filters of the checkpoints that are done.", "kernel", _largest(summary.filters))
    _gauges(registry, "left_out", "Checkpoints that were skipped or failed.", "reason", summary.reasons)
    by_source = Gauge("filterzoo_source_checkpoints", "Checkpoints by source.", ["source", "state"], registry=registry)
    for source, counts in document["sources"].items():
        for state in document["checkpoints"]:
            by_source.labels(source, state).set(counts[state])
    _sources(registry, summary)
    outcomes = {"new": run.new, "known": run.known, "skipped": run.skipped, "failed": run.failed}
    _gauges(registry, "run_checkpoints", "Checkpoints that the last run looked at.", "outcome", outcomes)
    _gauges(registry, "run_failures", "Checkpoints that failed in the last run.", "reason", run.reasons)
    _gauge(registry, "layers", "Convolution layers of the checkpoints that are done.", summary.layers)
    _gauge(registry, "run_duration_seconds", "How long the last run took.", run.seconds)
    _gauge(registry, "last_run_timestamp_seconds", "When the last run ended.", run.started + run.seconds)
    try:
        write_to_textfile(str(file), registry)
    except OSError as error:
        raise StorageFailed(
            f"{file}: the crawl is done, but its metrics cannot be written: {system_says(error)}; {remedy(error)}"
        ) from error


class RunningMetrics:
    """Metrics while a crawl runs, in a file next to `file` (`x.prom`: `x.running.prom`) that is removed at its end."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.file = file.with_name(f"{file.stem}.running{file.suffix or '.prom'}")
        self._clock = clock
        self._written = float("-inf")
        self._nodes: set[str] = set()

    def update(self, run: CrawlRun, running: Running) -> None:
        """Write them every `PERIOD` seconds, and when nodes come or go. A disk failure does not stop the crawl."""
        if self._clock() < self._written + PERIOD and running.nodes.keys() == self._nodes:
            return
        self._written, self._nodes = self._clock(), set(running.nodes)
        registry = CollectorRegistry(auto_describe=False)
        outcomes = {"new": run.new, "known": run.known, "skipped": run.skipped, "failed": run.failed}
        _gauges(registry, "running_outcomes", "Checkpoints that this run looked at.", "outcome", outcomes)
        _gauges(registry, "running_failures", "Checkpoints that failed in this run.", "reason", run.reasons)
        nodes = {node: len(names) for node, names in running.nodes.items()}
        _gauges(registry, "running_checkpoints", "Checkpoints that are read now.", "node", nodes)
        _gauge(registry, "running_waiting", "Checkpoints that wait for a core.", running.waiting)
        rate = (run.new + run.failed) / max(1e-3, run.seconds)
        _gauge(registry, "running_checkpoints_per_second", "Checkpoints read a second, since the start.", rate)
        with contextlib.suppress(OSError):
            write_to_textfile(str(self.file), registry)

    def end(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self.file.unlink()


def _sources(registry: CollectorRegistry, summary: Summary) -> None:
    """Whether each source was listed to its end, and when that last succeeded."""
    meanings = {
        "filterzoo_source_up": "Whether the source could be listed to its end the last time.",
        "filterzoo_source_listed_timestamp_seconds": "When the source was last listed to its end.",
    }
    is_up, last = (Gauge(name, meaning, ["source"], registry=registry) for name, meaning in meanings.items())
    for source, moment in [*summary.listed.items(), *summary.not_listed.items()]:
        is_up.labels(source).set(source in summary.listed)
        if moment:
            last.labels(source).set(datetime.fromisoformat(moment).timestamp())


def _gauges(registry: CollectorRegistry, name: str, meaning: str, label: str, values: Mapping[str, float]) -> None:
    gauge = Gauge(f"filterzoo_{name}", meaning, [label], registry=registry)
    for value, number in sorted(values.items()):
        gauge.labels(value).set(number)


def _gauge(registry: CollectorRegistry, name: str, meaning: str, value: float) -> None:
    Gauge(f"filterzoo_{name}", meaning, registry=registry).set(value)


def _largest(filters: Mapping[str, int]) -> dict[str, int]:
    ranked = sorted(filters.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ranked[:MOST_KERNELS])
    if len(ranked) > MOST_KERNELS:
        kept["other"] = sum(count for _, count in ranked[MOST_KERNELS:])
    return kept
