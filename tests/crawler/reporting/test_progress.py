"""A bar is shown to somebody who waits at a terminal, and to nobody else."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from filterzoo.reporting import progress


@pytest.mark.parametrize(
    ("patience", "is_terminal", "shown"), [(-1, True, True), (60, True, False), (-1, False, False)]
)
def test_a_bar_needs_a_terminal_and_long_work(monkeypatch, patience, is_terminal, shown):
    monkeypatch.setattr(progress, "PATIENCE", patience)
    written = io.StringIO()
    console = Console(file=written, force_terminal=is_terminal, width=100)
    done = []
    progress.watched((done.append(part) or part for part in (30, 70)), 100, "reading filters", console)  # type: ignore[func-returns-value]  # run for its effect
    assert done == [30, 70]
    assert ("reading filters" in written.getvalue()) == shown
    assert is_terminal or written.getvalue() == ""


def test_a_failure_passes_and_removes_the_bar(monkeypatch):
    monkeypatch.setattr(progress, "PATIENCE", -1)

    def amounts():
        yield 1
        raise ValueError("damaged")

    written = io.StringIO()
    with pytest.raises(ValueError, match="damaged"):
        progress.watched(amounts(), 2, "reading filters", Console(file=written, force_terminal=True, width=100))
    assert written.getvalue().endswith(("\x1b[?25h", "\x1b[2K"))
