"""A progress bar on stderr for long work, if stderr is a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from filterzoo.reporting.terminal import console

PATIENCE = 1.0
"""Seconds of work before a bar appears."""


def watched(amounts: Iterator[int], total: int, label: str, shown_on: Console | None = None) -> None:
    """Iterate over `amounts`, the finished parts of `total`; the bar is removed at the end."""
    screen = shown_on or console(to_stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    task = bar.add_task(label, total=total)
    began, started = time.monotonic(), False
    try:
        for amount in amounts:
            bar.advance(task, amount)
            if not started and time.monotonic() - began > PATIENCE:
                bar.start()
                started = True
    finally:
        bar.stop()
