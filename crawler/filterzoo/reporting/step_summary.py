"""A crawl's result as Markdown, for GITHUB_STEP_SUMMARY of GitHub Actions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from filterzoo.errors import StorageFailed, remedy, system_says
from filterzoo.outcome import LedgerEntry
from filterzoo.reporting.summary import CrawlRun, Summary
from filterzoo.reporting.terminal import printable

SHOWN = 50
"""Most failures of the run that are listed."""


def append(file: Path, summary: Summary, run: CrawlRun) -> None:
    """Add the result to the end of `file`; StorageFailed if that fails."""
    try:
        with file.open("a", encoding="utf-8") as sink:
            sink.write("\n".join(_lines(summary, run)) + "\n")
    except OSError as error:
        raise StorageFailed(
            f"{file}: the crawl is done, but its summary cannot be written: {system_says(error)}; {remedy(error)}"
        ) from error


def escaped(text: str, longest: int = 120) -> str:
    """Untrusted text as inline code in Markdown: no markup, links, mentions or line breaks.

    CommonMark 2.4 allows a backslash before any ASCII punctuation; GitHub links mentions and addresses only outside of
    code.
    """
    if not text.strip():
        return "-"
    literal = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", printable(text, longest))
    return f"<code>{literal}</code>"


def _lines(summary: Summary, run: CrawlRun) -> Iterator[str]:
    counts = f"{run.new:,} new, {run.known:,} already there, {run.skipped:,} skipped, {run.failed:,} failed"
    yield f"## FilterZoo: {counts}"
    yield ""
    yield f"The run took {run.seconds:,.0f} s. The work folder holds {summary.layers:,} convolution layers:"
    yield ""
    sources = sorted(summary.sources.items())
    yield from _table(
        ("source", "done", "skipped", "failed", "filters"),
        ((escaped(name), *_numbers(c.done, c.skipped, c.failed, c.filters)) for name, c in sources),
    )
    for source, last in sorted(summary.not_listed.items()):
        yield f"**Not listed:** {escaped(source)}; {f'it last was at {last}' if last else 'it never was'}"
        yield ""
    if summary.reasons:
        rows = ((reason, *_numbers(count)) for reason, count in summary.reasons.most_common())
        yield from _table(("left out because", "checkpoints"), rows)
    if run.failures:
        yield "Failed in this run:"
        yield ""
        yield from _table(("checkpoint", "stage", "reason", "detail"), (_failure(e) for e in run.failures[:SHOWN]))
        if run.failed > SHOWN:
            yield f"... and {run.failed - SHOWN:,} more; `filterzoo status` counts all of them."
            yield ""


def _failure(entry: LedgerEntry) -> tuple[str, ...]:
    name = entry.source if entry.id is None else f"{entry.source}/{entry.id}"
    return escaped(name), entry.stage, str(entry.reason), escaped(entry.detail, 300)


def _numbers(*numbers: int) -> tuple[str, ...]:
    return tuple(f"{number:,}" for number in numbers)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
