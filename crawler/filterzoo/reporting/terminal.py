"""Output for people: tables and progress on a terminal, plain lines elsewhere, untrusted text escaped on both.

Rich is imported with the first console or table, because errors and JSON do not need it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import unicodedata
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDTH_OF_A_FILE = 200
"""Width of tables if that of the terminal is unknown."""


def printable(text: str, longest: int = 120) -> str:
    """Untrusted text, made safe for a terminal.

    Control, bidirectional and other unprintable characters are escaped; the middle of a long text is left out.
    """
    ends = text if len(text) <= 2 * longest else text[:longest] + text[-longest:]
    shown = "".join(_escaped(character) for character in ends)
    if len(shown) > longest:
        head = longest // 2
        shown = f"{shown[:head]}…{shown[len(shown) - (longest - head - 1) :]}"
    return shown


def _escaped(character: str) -> str:
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    return character.encode("unicode_escape").decode()


def silence(stream: IO[str]) -> None:
    """Discard further output to a stream whose reader has closed it."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def unless_closed() -> Iterator[None]:
    """In the block, output to a closed pipe (`crawl | head -1`) is dropped, and work continues."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
        silence(sys.stderr)


def console(*, to_stderr: bool = False) -> Console:
    """A console; without a terminal, lines are not wrapped and tables are wide."""
    from filterzoo.reporting.piped_console import PipedConsole  # noqa: PLC0415  # see above

    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_OF_A_FILE
    wraps = width is None
    return PipedConsole(file=stream, highlight=False, soft_wrap=not wraps, markup=False, emoji=False, width=width)


def cell(text: object, *, longest: int = 60) -> Text:
    """A table cell of untrusted text."""
    from rich.text import Text  # noqa: PLC0415  # see above

    return Text(printable(str(text), longest))


def table(*columns: str, numbers: tuple[str, ...] = ()) -> Table:
    """An empty table; the columns named in `numbers` are aligned right."""
    from rich.table import Table  # noqa: PLC0415  # see above

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", no_wrap=column in numbers)
    return made
