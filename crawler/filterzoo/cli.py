"""The command line: built-in commands, those of plugins, and one place where errors become a line and an exit code."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable

import typer

import filterzoo
from filterzoo import plugins as plugin_loading
from filterzoo.commands import check_plugin, crawl, doctor, inspect, manifest_schema, new_plugin, plugins, status
from filterzoo.errors import FilterZooError
from filterzoo.terminal import printable

OURS: tuple[Callable[..., None], ...] = (
    crawl.crawl,
    status.status,
    doctor.doctor,
    inspect.inspect,
    plugins.plugins,
    manifest_schema.manifest_schema,
    new_plugin.new_plugin,
    check_plugin.check_plugin,
)


def build(commands: Iterable[Callable[..., None]] = ()) -> typer.Typer:
    """The application: our commands and the given ones, by function name."""
    app = typer.Typer(
        name="filterzoo",
        help="Crawl model zoos safely, measure their convolution filters, publish them as one data set.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_root)
    for command in (*OURS, *commands):
        app.command()(command)
    return app


def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True)) -> None:  # noqa: FBT001, FBT003
    if version:
        typer.echo(filterzoo.__version__)
        raise typer.Exit


def main() -> None:
    """Entry point of `filterzoo`."""
    warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\..*")
    try:
        loaded = plugin_loading.load(plugin_loading.references())
        build(loaded.commands)()
    except FilterZooError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"filterzoo: {printable(line, 2000)}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except KeyboardInterrupt:
        sys.stderr.write("filterzoo: interrupted; run the same command again to go on\n")
        sys.exit(130)
