"""filterzoo new-plugin: writes a package to start a zoo or a format from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from filterzoo import plugins as plugin_loading
from filterzoo.errors import StartError
from filterzoo.kit.writing import What, identifier, write_plugin
from filterzoo.reporting.terminal import console


def new_plugin(
    name: Annotated[str, typer.Argument(help="Of the zoo or format, as in my_zoo.", metavar="NAME")],
    *,
    into: Annotated[Path, typer.Option(metavar="DIR", help="Where the folder NAME is made.")] = Path(),
    format_: Annotated[bool, typer.Option("--format", help="A file format instead of a zoo.")] = False,
) -> None:
    """Write a package for a zoo (or a file format): pyproject.toml, one file of code, its test, a README.

    It installs, is found, and passes its own test as it is; then make it yours. Nothing that is there is overwritten.
    """
    what: What = "format" if format_ else "source"
    _check_free(identifier(name), what)
    files = write_plugin(name, what, into)
    out = console()
    for file in files:
        out.print(f"wrote {file}")
    out.print(
        f"next: pip install -e {files[0].parent}, then filterzoo plugins and filterzoo check-plugin {identifier(name)}"
    )


def _check_free(name: str, what: What) -> None:
    """StartError if an installed plugin has the name: two plugins of one name are an error in every command."""
    installed = plugin_loading.references()
    taken_by = plugin_loading.load(installed, plugin_loading.only_formats).provided_by.get(f"{what}:{name}")
    if taken_by is None and name in {reference.name for reference in installed}:
        taken_by = name
    if taken_by is not None:
        raise StartError(f"the plugin {taken_by!r} has the name {name!r} already; choose another")
