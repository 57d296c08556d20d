"""The command line: built-in commands, those of plugins, and one place where errors become a line and an exit code."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterable

import typer

import filterzoo
from filterzoo import plugins as plugin_loading
from filterzoo.errors import FilterZooError
from filterzoo.reporting.terminal import printable

OURS = ("crawl", "status", "doctor", "inspect", "cat", "plugins", "manifest-schema", "new-plugin", "check-plugin")
"""Each is a function in the module of its name in `filterzoo.commands`, which loads all that it needs."""


def build(commands: Iterable[Callable[..., None]] = (), ours: Iterable[str] = OURS) -> typer.Typer:
    """The application: `ours` of our commands, and the given ones by function name."""
    app = typer.Typer(
        name="filterzoo",
        help="Crawl model zoos safely, measure their convolution filters, publish them as one data set.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_root)
    for command in (*map(_our, ours), *commands):
        app.command()(command)
    return app


def _our(name: str) -> Callable[..., None]:
    name = name.replace("-", "_")
    command: Callable[..., None] = getattr(importlib.import_module(f"filterzoo.commands.{name}"), name)
    return command


def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)) -> None:  # noqa: FBT001, FBT003
    if version:
        typer.echo(filterzoo.__version__)
        raise typer.Exit


def main() -> None:
    """Entry point of `filterzoo`."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\..*")
    try:
        loaded = plugin_loading.load(plugin_loading.references())
        # A command that is asked for need not wait for what the others load.
        asked = [name for name in OURS if sys.argv[1:2] == [name]]
        build(loaded.commands, asked or OURS)()
    except FilterZooError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"filterzoo: {printable(line, 2000)}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        sys.stderr.write("filterzoo: interrupted; run the same command again to go on\n")
        sys.exit(130)
