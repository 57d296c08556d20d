"""The command line. Here, and only here, an error becomes one line and an exit code."""

from __future__ import annotations

import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, NoReturn

import typer

import filterzoo
from filterzoo import stopping
from filterzoo.commands.catalogue import hooked_commands, named_commands
from filterzoo.errors import FilterZooError, describe, remedy, system_says
from filterzoo.reporting.terminal import printable, silence

DEBUG = "--debug"
UNEXPECTED = 70
"""Exit code of an error that is the program's own fault, EX_SOFTWARE of sysexits.h."""


def build(commands: Iterable[Callable[..., None]]) -> typer.Typer:
    """The Typer application with these commands, each named after its function."""
    app = typer.Typer(
        name="filterzoo",
        help="Crawl model zoos safely, measure their convolution filters, publish them as one data set.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_root)
    for command in commands:
        app.command()(command)
    return app


def _requested_commands() -> Iterator[Callable[..., None]]:
    """The command named in `argv`, imported; for any other word, placeholders of all commands and those of plugins."""
    named = named_commands()
    word = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if word in named:
        yield named[word].load()
        return
    yield from (command.placeholder() for command in named.values())
    yield from hooked_commands()


def _root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    del debug  # `main` reads it from `argv`, also if no command can be started
    if version:
        typer.echo(filterzoo.__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line."""
    stopping.listen()
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\..*")
    try:
        build(_requested_commands())()
    except FilterZooError as error:
        _end(str(error), error.exit_code)
    except BrokenPipeError:
        silence(sys.stdout)
        silence(sys.stderr)
        sys.exit(0)
    except stopping.Stopped as stopped:
        stopping.end(stopped)
    except MemoryError:
        _end("not enough memory; use fewer --workers where the command has them, or a machine with more", 2)
    except OSError as error:
        place = f"{printable(str(error.filename), 400)}: " if error.filename is not None else ""
        _end(f"{place}{system_says(error)}; {remedy(error)} and run the same command again", 2)
    except Exception as error:  # noqa: BLE001  # the one place where a fault of the program becomes a line
        _end(f"unexpected error: {describe(error)}; {_kept_traceback()}", UNEXPECTED)


def _end(message: str, code: int) -> NoReturn:
    """Print an error on one line, its traceback too with --debug, and exit."""
    if DEBUG in sys.argv:
        traceback.print_exc()
    try:
        for line in message.splitlines():
            sys.stderr.write(f"filterzoo: {printable(line, 2000)}\n")
        sys.stderr.flush()
    except OSError:  # standard error is on a full disk, or closed: the exit code still counts
        silence(sys.stderr)
    sys.exit(code)


def _kept_traceback() -> str:
    """Write the traceback of the current exception to a temporary file and return its path."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="filterzoo-traceback-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
        ) as file:
            traceback.print_exc(file=file)
    except OSError:
        return f"`filterzoo {DEBUG} ...` shows its traceback; please report it"
    return f"its traceback is in {file.name}; please report it"
