"""The options of `filterzoo report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

TargetArgument = Annotated[
    str, typer.Argument(metavar="TARGET", help="A published data set: user/name on the Hub, or a folder.")
]
OutputOption = Annotated[Path, typer.Option("-o", "--output", help="Folder for the page and its figures.")]
VariantOption = Annotated[
    Literal["fixed", "cvpr22", "robust22", "medical22"],
    typer.Option(help="Definition of drift; all but fixed read the filters."),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        help="Earlier state to compare with: a folder, or a tag or commit on the Hub; else the release before."
    ),
]
WhereOption = Annotated[
    str,
    typer.Option(help="Only models for which this holds: columns of `models`, e.g. 'task == \"segmentation\"'."),
]
ExcludeOption = Annotated[
    list[str] | None,
    typer.Option(help="Kinds of models to leave out: suspected_random (the default, named in the page) or none."),
]
GridsOption = Annotated[
    list[str] | None,
    typer.Option(help="A pair (pair_id) whose first and last filters are drawn, or all; else the first pair."),
]
MasterKeysOption = Annotated[
    str,
    typer.Option(
        metavar="ideal|FILE",
        help="Compare depthwise filters with the eight idealised master keys, or with the filters in a text file.",
    ),
]
ImagesOption = Annotated[
    list[Path] | None,
    typer.Option(help="A picture and, given once more, its attacked twin, for the figure of first layers."),
]
ExplorerOption = Annotated[
    bool,
    typer.Option(
        "--explorer",
        help="Instead of the report: a page that queries the data set in the browser, fit for a Space.",
    ),
]
