"""Metrics of a crawl for Prometheus, as a file that the node exporter's textfile collector reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from filterzoo.errors import StorageFailed
from filterzoo.reporting.summary import CrawlRun, Summary

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
    _gauge(registry, "layers", "Convolution layers of the checkpoints that are done.", summary.layers)
    _gauge(registry, "run_duration_seconds", "How long the last run took.", run.seconds)
    _gauge(registry, "last_run_timestamp_seconds", "When the last run ended.", run.started + run.seconds)
    try:
        write_to_textfile(str(file), registry)
    except OSError as error:
        raise StorageFailed(
            f"{file}: the crawl is done, but its metrics cannot be written: {error.strerror}"
        ) from error


def _sources(registry: CollectorRegistry, summary: Summary) -> None:
    """Whether each source could be listed to its end, and when it last could."""
    meanings = {
        "filterzoo_source_up": "Whether the source could be listed to its end the last time.",
        "filterzoo_source_listed_timestamp_seconds": "When the source was last listed to its end.",
    }
    is_up, last = (Gauge(name, meaning, ["source"], registry=registry) for name, meaning in meanings.items())
    for source, time in [*summary.listed.items(), *summary.not_listed.items()]:
        is_up.labels(source).set(source in summary.listed)
        if time:
            last.labels(source).set(datetime.fromisoformat(time).timestamp())


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
