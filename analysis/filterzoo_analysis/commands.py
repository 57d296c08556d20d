"""The command `report`. Its imports happen when it runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from filterzoo.errors import writing_to
from filterzoo.reporting.terminal import console, printable
from filterzoo_analysis.options import (
    ExcludeOption,
    ExplorerOption,
    GridsOption,
    ImagesOption,
    MasterKeysOption,
    OutputOption,
    SinceOption,
    TargetArgument,
    VariantOption,
    WhereOption,
)

if TYPE_CHECKING:
    from filterzoo_analysis.zoo import Zoo


def report(
    target: TargetArgument,
    *,
    output: OutputOption = Path("filterzoo-report"),
    variant: VariantOption = "fixed",
    since: SinceOption = None,
    where: WhereOption = "",
    exclude: ExcludeOption = None,
    grids: GridsOption = None,
    master_keys: MasterKeysOption = "",
    images: ImagesOption = None,
    explorer: ExplorerOption = False,
) -> None:
    """The papers' figures of the data set at TARGET, each with its table, and one page to read them in.

    Exit code 0: written; 2: it could not start, or there is no such data set.
    """
    if explorer:
        from filterzoo_analysis.explorer import writing  # noqa: PLC0415  # as below

        with writing_to(output):
            page = writing.write(target, output)
        console().print(printable(str(page), 400))
        return
    from filterzoo.dataset.untrusted import reading  # noqa: PLC0415  # as below
    from filterzoo_analysis.page import rendering  # noqa: PLC0415  # seconds that other commands do not need
    from filterzoo_analysis.page import report as reports  # noqa: PLC0415

    rendering.require_libraries()
    out = console(to_stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
    with reading(target), Progress(*columns, TimeElapsedColumn(), console=out, disable=not out.is_terminal) as bar:
        kinds = tuple(kind for kind in exclude or ("suspected_random",) if kind != "none")
        zoo = _prepare(target, variant, since, bar, where=where, exclude=kinds)
        zoo = replace(zoo, images=tuple(map(str, images or ())), grids=tuple(grids or ()), master_keys=master_keys)
        drawing = bar.add_task("figures", total=None)
        with writing_to(output):
            page = reports.write(zoo, output, lambda name: bar.update(drawing, description=f"drawing {name}"))
    console().print(printable(str(page), 400))


def _prepare(  # an argument for each option
    target: str, variant: str, since: str | None, bar: Progress, *, where: str, exclude: tuple[str, ...]
) -> Zoo:
    from filterzoo_analysis import zoo  # noqa: PLC0415  # as above
    from filterzoo_analysis.filters import variants  # noqa: PLC0415
    from filterzoo_analysis.tables import dataset  # noqa: PLC0415

    reading = bar.add_task("reading tables", total=None)
    found = dataset.read(target)
    earlier = None if since is None else zoo.read_since(target, since)
    bar.update(reading, description="tables read", total=1, completed=1)
    passes = variants.passes_of(variants.Variant(variant))
    if not passes:
        return zoo.prepare(found, variant, since=earlier, where=where, exclude=exclude)
    filters = sum(found.models["stored_filters"].to_pylist())
    task = bar.add_task(f"filters, {variant}, {passes} pass{'es' * (passes > 1)}", total=passes * filters)
    return zoo.prepare(found, variant, lambda count: bar.advance(task, count), earlier, where=where, exclude=exclude)
