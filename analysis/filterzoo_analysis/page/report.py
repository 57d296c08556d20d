"""Writes a report: all sections as figures, tables and a page that needs no network."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

import filterzoo
from filterzoo.durable import whole_files
from filterzoo.reporting.counts import counted
from filterzoo.reporting.terminal import printable
from filterzoo_analysis.exhibits import Answer, Exhibit, Section
from filterzoo_analysis.page import first_screen, model_pictures, rendering
from filterzoo_analysis.page.embedding import embedded
from filterzoo_analysis.page.findings import findings
from filterzoo_analysis.page.models_page import document
from filterzoo_analysis.sections import beyond, cnn_filter_db, confidence, counts, growth, medical, robustness
from filterzoo_analysis.tables.selection import EXCLUDABLE
from filterzoo_analysis.zoo import Zoo

SECTIONS: tuple[Callable[[Zoo], Section], ...] = (
    counts.section,
    cnn_filter_db.section,
    robustness.section,
    confidence.section,
    medical.section,
    beyond.section,
    growth.section,
)
PAGE = "index.html"
_ROWS_SHOWN = 60
_LARGE, _SMALL = 1000.0, 0.001
"""Numbers that change how many decimals their column of a table has."""
"""Largest number of rows of a table in the page. The files have all rows."""
_SHORT = {
    "overview": "Overview",
    "cnn-filter-db": "CNN Filter DB",
    "robustness": "Robustness",
    "confidence": "Confidence",
    "medical": "Medical",
    "beyond": "Beyond",
    "growth": "Growth",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """An exhibit for the page's template. `svg` is trusted markup, everything else is text."""

    name: str
    title: str
    summary: str
    svg: Any
    width: float
    notes: tuple[str, ...]
    answers: tuple[Answer, ...]
    rows: int
    columns: list[str]
    numeric: list[bool]
    cells: list[list[str]]
    query: str
    files: tuple[str, ...]


def write(zoo: Zoo, folder: Path, watch: Callable[[str], None] | None = None) -> Path:
    """Write the report into `folder`: `index.html`, and `figures/` with all figures and tables; returns the page.

    watch: called with the name of each section and figure before it is made. StartError if matplotlib or jinja2 is
    missing. After an error, a full disk or Ctrl-C the folder is as it was.
    """
    rendering.require_libraries()
    tell = watch or (lambda _name: None)
    with whole_files(folder) as draft:
        figures = draft / "figures"
        figures.mkdir()
        sections = []
        for make in SECTIONS:
            tell(make.__module__.rpartition(".")[2])
            section = make(zoo)
            sections.append((section, [_shown(exhibit, figures, tell) for exhibit in section.exhibits]))
        rendering.save(_models(zoo), figures)
        made = {exhibit.name: exhibit for section, _ in sections for exhibit in section.exhibits}
        (draft / PAGE).write_text(_page(zoo, sections, findings(zoo, made)), encoding="utf-8")
    return folder / PAGE


def exhibits(zoo: Zoo) -> Iterator[Exhibit]:
    """All exhibits of all sections."""
    for make in SECTIONS:
        yield from make(zoo).exhibits


def with_code(text: str) -> Any:
    """Text as escaped markup. Text between backticks becomes code."""
    from markupsafe import Markup, escape  # noqa: PLC0415  # comes with jinja2, which is an extra

    parts = [escape(part) for part in printable(text, 4000).split("`")]
    coded = [Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts[:-1])]
    # The last part is not code, or follows an unpaired backtick.
    last = parts[-1] if len(parts) % 2 else Markup("`{}").format(parts[-1])
    return Markup("").join([*coded, last])


_BREAKS = re.compile(r"(?<=[/@:])|(?<=[_-])(?=.{8})|(?<=[.])(?=[A-Za-z].{8})")
"""Where a line may break inside a name: after a part of a path or of a long word."""
_LONGEST = 20
"""Longest word without line breaks in a table, in characters."""


def breakable(text: str) -> Any:
    """A cell as escaped markup. Words of up to 20 characters stay whole, longer ones may break between their parts."""
    from markupsafe import Markup, escape  # noqa: PLC0415  # as above

    words = [
        Markup("<wbr>").join(map(escape, _BREAKS.split(word)))
        if len(word) > _LONGEST
        else Markup("<span class=whole>{}</span>").format(word)
        for word in text.split(" ")
    ]
    return Markup(" ").join(words)


def _models(zoo: Zoo) -> Exhibit:
    """The table of models as an exhibit with files, for browsers without scripts."""
    query = f"from filterzoo_analysis.tables.dataset import read\n\ntable = read({zoo.dataset.name!r}).models"
    return Exhibit("models", "Models", "", zoo.dataset.models, query)


def _shown(exhibit: Exhibit, folder: Path, tell: Callable[[str], None]) -> Shown:
    from markupsafe import Markup  # noqa: PLC0415  # comes with jinja2, which is an extra

    tell(exhibit.name)
    svg = rendering.save(exhibit, folder)
    first = exhibit.table.slice(0, _ROWS_SHOWN)
    return Shown(
        name=exhibit.name,
        title=printable(exhibit.title, 200),
        summary=printable(exhibit.summary, 4000),
        # Trusted: matplotlib wrote it and escaped every label.
        svg=svg and Markup(svg),  # noqa: S704  # see above
        width=round(exhibit.size[0] * 5.6, 1),
        notes=exhibit.notes,
        answers=exhibit.answers,
        rows=len(exhibit.table),
        columns=exhibit.table.column_names,
        numeric=[pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in exhibit.table.schema.types],
        cells=[list(row) for row in zip(*map(_column, first.columns), strict=True)],
        query=exhibit.query,
        files=(("svg", "png") if exhibit.draw else ()) + ("csv", "parquet", "py"),
    )


def _column(values: pa.ChunkedArray) -> list[str]:
    """The cells of a column. All its numbers have three decimals, four if one is small, one if one is large."""
    found = values.to_pylist()
    if not pa.types.is_floating(values.type):
        return [_cell(value) for value in found]
    sizes = [abs(value) for value in found if value and math.isfinite(value)]
    decimals = 1 if max(sizes, default=0) >= _LARGE else 4 if min(sizes, default=1) < _SMALL else 3
    least = 10.0**-decimals
    return [
        ""
        if value is None
        else f"<{least:g}"
        if 0 < value < least / 2
        else f"{round(value, decimals) + 0.0:,.{decimals}f}"
        for value in found
    ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else printable(str(value), 300)


def _page(zoo: Zoo, sections: list[tuple[Section, list[Shown]]], found: list[str]) -> str:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  # an extra
    from markupsafe import Markup  # noqa: PLC0415  # as above

    page = files("filterzoo_analysis") / "page"
    script = (page / "report.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"with_code": with_code, "breakable": breakable}
    template = environment.from_string((page / "report.html.j2").read_text("utf-8"))
    return template.render(
        name=printable(zoo.dataset.name),
        revision=zoo.dataset.files and zoo.dataset.files.revision,
        variant=str(zoo.coefficients.variant),
        version=filterzoo.__version__,
        about=first_screen.about(zoo),
        totals=_totals(zoo),
        mosaic=first_screen.mosaic(zoo),
        findings=[printable(sentence, 1000) for sentence in found],
        chosen=_chosen(zoo),
        sections=[
            {
                "name": section.name,
                "title": section.title,
                "short": _SHORT[section.name],
                "about": section.about,
                "empty": section.empty,
                "exhibits": shown,
            }
            for section, shown in sections
            if shown
        ],
        folded=[
            {"short": _SHORT[section.name], "title": section.title, "empty": section.empty}
            for section, shown in sections
            if not shown
        ],
        # Trusted: output of matplotlib, files of this package, and JSON in which no character can end its element.
        chart=Markup(model_pictures.axes()),  # noqa: S704  # see above
        style=Markup((page / "report.css").read_text("utf-8")),  # noqa: S704
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{digest}",
        data=Markup(embedded(document(zoo))),  # noqa: S704
    )


def _chosen(zoo: Zoo) -> list[str]:
    """Sentences about the choice of models; none if all are used."""
    sentences = [f"Only models where `{printable(zoo.where, 400)}`."] if zoo.where else []
    for kind, names in zoo.left_out.items():
        listed = ", ".join(printable(name, 120) for name in names[:20])
        more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
        sentences.append(
            f"Left out of all figures but the counts: {counted(len(names), 'model')} {EXCLUDABLE[kind]} (`{kind}`): "
            f"{listed}{more}. `--exclude none` keeps them."
        )
    return sentences


def _totals(zoo: Zoo) -> list[tuple[str, str]]:
    models = zoo.dataset.models
    copies = len(models) - models["duplicate_of"].null_count
    filters: pa.Scalar = pc.sum(models["filters_3x3"])
    found = {
        "models": len(models),
        "of them copies": copies,
        "layers": len(zoo.dataset.layers),
        "3x3 filters": filters.as_py() or 0,
        "left out": len(zoo.dataset.skipped),
    }
    return [(name, f"{count:,}") for name, count in found.items()]
