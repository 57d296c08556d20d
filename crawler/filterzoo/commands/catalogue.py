"""The list of commands. A command is imported only when it is used.

The built-in ones are listed here. Installed distributions declare theirs in the entry-point group `filterzoo.commands`,
or offer them by the hook `filterzoo_commands`, which requires importing their plugins.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from filterzoo.errors import StartError

OURS = (
    "crawl",
    "status",
    "retry",
    "doctor",
    "inspect",
    "cat",
    "plugins",
    "manifest-schema",
    "new-plugin",
    "check-plugin",
)
"""Each is a function in the module of the same name in `filterzoo.commands`."""
GROUP = "filterzoo.commands"
"""Entry points `name = "module:function"`. The hook is not called for a distribution that has any."""


@dataclass(frozen=True, slots=True)
class NamedCommand:
    """Module and function of a command, not imported yet."""

    module: str
    function: str

    def load(self) -> Callable[..., None]:
        """Import it."""
        command: Callable[..., None] = getattr(importlib.import_module(self.module), self.function)
        return command

    def placeholder(self) -> Callable[..., None]:
        """A placeholder with the command's name and docstring, for lists; the module is parsed, not imported."""

        def command() -> None:
            raise AssertionError(f"{self.function} is in a list only")

        command.__name__ = self.function
        command.__doc__ = self._docstring()
        return command

    def _docstring(self) -> str | None:
        spec = importlib.util.find_spec(self.module)
        if spec is None or spec.origin is None:
            return None
        for node in ast.parse(Path(spec.origin).read_bytes()).body:
            if isinstance(node, ast.FunctionDef) and node.name == self.function:
                return ast.get_docstring(node)
        return None


def named_commands() -> dict[str, NamedCommand]:
    """The built-in commands, and those that installed distributions declare in `GROUP`."""
    names = {name: name.replace("-", "_") for name in OURS}
    ours = {name: NamedCommand(f"filterzoo.commands.{word}", word) for name, word in names.items()}
    points = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: NamedCommand(point.module, point.attr) for point in points} | ours


def hooked_commands() -> Iterator[Callable[..., None]]:
    """The commands of plugins whose distributions declare none in `GROUP`; StartError for a name that is taken."""
    naming = {_distribution(point) for point in importlib.metadata.entry_points(group=GROUP)}
    points = importlib.metadata.entry_points(group="filterzoo")
    asked = {point.name for point in points if _distribution(point) not in naming}
    if not asked:
        return
    from filterzoo import plugins  # noqa: PLC0415  # most starts need none

    named = {command.function: command.module for command in named_commands().values()}
    for command in plugins.load([one for one in plugins.references() if one.name in asked]).commands:
        if command.__name__ in named:
            raise StartError(
                f"{command.__module__} and {named[command.__name__]} both offer the command {command.__name__!r}; "
                "uninstall one"
            )
        yield command


def _distribution(point: importlib.metadata.EntryPoint) -> str:
    return point.dist.name if point.dist else ""
