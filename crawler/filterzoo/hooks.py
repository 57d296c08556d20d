"""The hooks a plugin may implement. Each is called once, when the plugin is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from filterzoo.archive import Archive
    from filterzoo.crawl.executor import Executor
    from filterzoo.format import Format
    from filterzoo.source import Source

PROJECT = "filterzoo"
"""The pluggy project name and the entry-point group."""
API_VERSION = 1
"""The version of the plugin API: hooks, records, `Source`, `Format`. A plugin may state `filterzoo_api = 1`.

It is incremented only for a breaking change; a plugin that states another version is refused.
"""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def filterzoo_sources() -> Iterable[type[Source]]:  # type: ignore[empty-body]  # a hookspec has no body
    """The sources of a plugin. Manifests may then name them; two sources of one name are an error."""


@hookspec
def filterzoo_formats() -> Iterable[Format]:  # type: ignore[empty-body]  # a hookspec has no body
    """The formats of a plugin, asked in turn whether they accept a file; also called in the jail, to index files."""


@hookspec
def filterzoo_archives() -> Iterable[Archive]:  # type: ignore[empty-body]  # a hookspec has no body
    """The kinds of archives of a plugin, tried in turn for files that no format accepts; called in the jail only."""


@hookspec
def filterzoo_executors() -> Iterable[type[Executor]]:  # type: ignore[empty-body]  # a hookspec has no body
    """The executors of a plugin, which run tasks. `crawl --executor` selects one by name; each run constructs it."""


@hookspec
def filterzoo_commands() -> Iterable[Callable[..., None]]:  # type: ignore[empty-body]  # a hookspec has no body
    """Functions that become commands of `filterzoo`, typed for Typer; the function's name is the command's.

    The plugin is imported whenever commands are listed. To avoid that, a distribution can declare its commands in the
    entry-point group `filterzoo.commands` (`NAME = "MODULE:FUNCTION"`, where function and command have the same name):
    each is then imported only when it is used, and this hook is not called.
    """
