"""Writes docs/commands.md and docs/hooks.md from the code: `python -m filterzoo.commands.pages docs`."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import typer

from filterzoo import hooks
from filterzoo.cli import build
from filterzoo.commands.catalogue import named_commands

WIDTH = 100
OURS = ("filterzoo.", "filterzoo_publish.", "filterzoo_analysis.", "filterzoo_evaluation.")


def commands_page() -> str:
    """Every command's `--help` as Markdown; third-party commands are left out."""
    ours = [command for command in named_commands().values() if command.module.startswith(OURS)]
    application = typer.main.get_group(build(command.load() for command in ours))
    pages = ["# Commands", "", "Written by `make docs` from the commands' own `--help`.", ""]
    for name in sorted(application.commands):
        command = application.commands[name]
        context = typer.Context(command, info_name=f"filterzoo {name}", max_content_width=WIDTH, terminal_width=WIDTH)
        pages += [f"## {name}", "", "```text", command.get_help(context).strip(), "```", ""]
    return "\n".join(pages)


def hooks_page() -> str:
    """Every hook with its types and its docstring, as Markdown."""
    pages = [
        "# Hooks",
        "",
        "Written by `make docs` from `filterzoo.hooks`. A plugin is a module that implements some of these, marked",
        "with `filterzoo.hookimpl` and named in the entry-point group `filterzoo`.",
        "[write-a-plugin.md](write-a-plugin.md) writes one step by step.",
        "",
        f"These hooks are version {hooks.API_VERSION} of the plugin API. A module that says `filterzoo_api = 1` is",
        "loaded by no FilterZoo of another version; one that says nothing is taken as it is.",
        "",
    ]
    for name, hook in sorted(vars(hooks).items()):
        if name.startswith(f"{hooks.PROJECT}_"):
            pages += [f"## {name}", "", "```python", f"def {name}{inspect.signature(hook)}".replace("'", ""), "```", ""]
            pages += [inspect.cleandoc(hook.__doc__ or ""), ""]
    return "\n".join(pages)


def main() -> None:
    """Write both pages into the folder given as an argument."""
    folder = Path(sys.argv[1])
    (folder / "commands.md").write_text(commands_page(), encoding="utf-8")
    (folder / "hooks.md").write_text(hooks_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
