"""The commands of this room. Loaded at every start of `filterzoo`; what they need is loaded when they run."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from filterzoo.hooks import hookimpl
from filterzoo_publish.commands.export import export
from filterzoo_publish.commands.publish import publish
from filterzoo_publish.commands.takedown import takedown
from filterzoo_publish.commands.verify import verify


@hookimpl
def filterzoo_commands() -> Iterable[Callable[..., None]]:
    """What this room adds to the command line."""
    return (publish, verify, takedown, export)
