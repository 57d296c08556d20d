"""Arguments and options that several commands of this package share."""

from __future__ import annotations

from typing import Annotated

import typer

TargetArgument = Annotated[
    str, typer.Argument(metavar="TARGET", help="user/name on the Hub, or a folder; ./user/name is always a folder.")
]
ReleaseOption = Annotated[
    str | None,
    typer.Option("--release", metavar="vYYYY.MM.DD", help="Name of the release: its day; today in UTC by default."),
]
PullRequestOption = Annotated[bool, typer.Option("--create-pr", help="Propose a pull request on the Hub.")]
