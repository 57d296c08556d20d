"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT = Path("filterzoo-work")
"""The default work folder."""
WorkdirOption = Annotated[Path, typer.Option("--workdir", help="Folder that keeps the state of the crawl.")]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="A shared store for results, such as s3://bucket/prefix or a folder; the work folder remembers it.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines, nothing else.")]
PluginOption = Annotated[
    list[Path] | None, typer.Option("--plugin", help="A Python file with a plugin, tried without packaging.")
]
PrivateOption = Annotated[
    bool, typer.Option("--allow-private", help="Also fetch from addresses of this machine and private networks.")
]

__all__ = ["DEFAULT", "JsonOption", "PluginOption", "PrivateOption", "StoreOption", "WorkdirOption"]
