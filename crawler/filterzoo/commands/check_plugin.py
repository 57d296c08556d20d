"""filterzoo check-plugin: checks a plugin against the contract of sources and formats and explains each violation."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from filterzoo.commands.options import JsonOption, PrivateOption
from filterzoo.kit.checking import Request, check
from filterzoo.kit.findings import Finding, Verdict
from filterzoo.kit.source_contract import LIMIT
from filterzoo.reporting.terminal import console, printable


def check_plugin(
    plugin: Annotated[str, typer.Argument(help="An installed plugin, or a Python file.", metavar="NAME|FILE")],
    *,
    manifest: Annotated[Path | None, typer.Option(help="A manifest with the options of the plugin's sources.")] = None,
    sample: Annotated[
        list[Path] | None, typer.Option(help="A good file of the plugin's format; may be given again.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Look at no more than N checkpoints of a source.")] = LIMIT,
    allow_private: PrivateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a plugin against the contract of sources and formats, rule by rule.

    A source is run without a network and, if it needs one, with it; no weights are fetched. A format is given foreign
    files and, of each --sample, the file itself, cut short and damaged. Exit code 0: nothing is wrong; 1: something
    is; 2: there is no such plugin, or it cannot be checked with what was given.
    """
    request = Request(manifest=manifest, samples=sample or (), limit=limit, allow_private=allow_private)
    findings = []
    for found in check(plugin, request):
        findings.append(found)
        if not as_json:
            _show(found)
    if as_json:
        typer.echo(json.dumps([asdict(found) for found in findings]))
    if any(found.verdict is Verdict.BROKEN for found in findings):
        raise typer.Exit(1)


def _show(found: Finding) -> None:
    line = f"{found.verdict:11} {printable(found.subject)}: {printable(found.rule, 200)}"
    console().print(line + (f": {printable(found.detail, 1000)}" if found.detail else ""))
