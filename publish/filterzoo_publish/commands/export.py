"""The command `export`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from filterzoo.commands.options import JsonOption
from filterzoo.errors import StartError
from filterzoo.reporting.counts import counted
from filterzoo.reporting.terminal import console, printable
from filterzoo_publish.commands.options import TargetArgument

if TYPE_CHECKING:
    from filterzoo_publish.cnn_filter_db.table import ExportTable


class ExportFormat(StrEnum):
    """What a data set can be exported to."""

    CNN_FILTER_DB = "cnn-filter-db"


def export(
    target: TargetArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT.h5", help="The file to be written; it must not be there.")],
    *,
    layout: Annotated[
        ExportFormat, typer.Option("--format", help="cnn-filter-db: dataset.h5 as CNN Filter DB 1.0 has it.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Write the 3x3 filters of the data set at TARGET, and what is known of them, to one file in an older layout.

    The file holds every published 3x3 filter as float64, 72 bytes each, and a table that pandas.read_hdf reads. Where
    pairs of robust and normal networks are known, OUT.robust_vs_normal_pairings.csv beside it holds them.
    Transposed convolutions, which that layout does not have, are left out and counted. Exit code 0: all well; 2: there
    is no such data set, it has no such filters, or OUT.h5 cannot be written.
    """
    from filterzoo.dataset.published import open_published  # noqa: PLC0415  # as below
    from filterzoo.dataset.untrusted import reading  # noqa: PLC0415
    from filterzoo_publish.cnn_filter_db import table, writing  # noqa: PLC0415  # a second that other commands do not need

    del layout  # there is one
    files = open_published(target)
    if not files.paths("models"):
        raise StartError(f"{target}: no data/models in it: not a published data set")
    with reading(files.root):
        planned = table.export_table(files)
    if not planned.counts:
        raise StartError(f"{target}: holds no 3x3 filters that could be exported; see its config `layers`")
    writing.write(files, planned, out)
    _report(target, out, planned, as_json=as_json)


def _report(target: str, out: Path, planned: ExportTable, *, as_json: bool) -> None:
    from filterzoo_publish.cnn_filter_db.writing import pairs_file  # noqa: PLC0415  # as above

    left_out = {"transposed": planned.transposed, "unpublished": planned.unpublished}
    layers, filters = len(planned.counts), sum(planned.counts)
    if as_json:
        document = {
            "target": target,
            "file": str(out),
            "models": planned.models,
            "layers": layers,
            "filters": filters,
            "pairs": len(planned.pairs),
            "left_out": left_out,
        }
        typer.echo(json.dumps(document))
        return
    print_line = console().print
    counts = f"{counted(planned.models, 'model')}, {counted(layers, 'layer')}, {counted(filters, 'filter')}"
    print_line(f"{printable(str(out))}: {counts}")
    if planned.pairs:
        print_line(f"{printable(str(pairs_file(out)))}: {counted(len(planned.pairs), 'pair')}")
    for why, count in left_out.items():
        if count:
            print_line(f"left out: {counted(count, f'{why} layer')}")
