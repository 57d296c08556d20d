"""Writes exhibits to files: the figure as SVG and PNG, its table as CSV and Parquet, and its query."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from filterzoo.errors import StartError
from filterzoo.reporting.spreadsheet import escaped
from filterzoo_analysis.exhibits import Exhibit
from filterzoo_analysis.figures import INK, STYLE

_DPI = 130
_NAME = re.compile(r"[a-z0-9_-]+")


def require_libraries() -> None:
    """StartError, which names the extra, if matplotlib or jinja2 is missing."""
    try:
        import jinja2  # noqa: F401, PLC0415  # checked here, so that the error comes before minutes of work
        import matplotlib as mpl  # noqa: PLC0415
    except ImportError as error:
        raise StartError(f"report needs {error.name}: pip install 'filterzoo[report]'") from error
    mpl.use("Agg")


def save(exhibit: Exhibit, folder: Path) -> str | None:
    """Write the exhibit's files into `folder`; returns the figure as SVG for a page, None if there is only a table."""
    if not _NAME.fullmatch(exhibit.name):
        raise ValueError(f"not a file name: {exhibit.name!r}")
    _write_parquet(exhibit.table, folder / f"{exhibit.name}.parquet")
    pc_csv.write_csv(_flat(exhibit.table), folder / f"{exhibit.name}.csv")
    (folder / f"{exhibit.name}.py").write_text(exhibit.query + "\n")
    if exhibit.draw is None:
        return None
    path = folder / f"{exhibit.name}.svg"
    _draw(exhibit, path)
    return inline(path.read_text(), exhibit.name)


def _write_parquet(table: pa.Table, path: Path) -> None:
    """In one write: Arrow's own files get three of each column."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    path.write_bytes(sink.getbuffer())


def inline(svg: str, name: str) -> str:
    """An SVG document as an element of a page: with unique ids, and text and lines in the page's colour."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    # Ids of images are hashes of their content, so that equal images have the same id.
    body = re.sub(r'(<image\b[^>]*?) id="[^"]*"', r"\1", body)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(
        r'(<svg\b[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", body, count=1), count=1
    )
    return body.replace(INK, "currentColor").replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def _draw(exhibit: Exhibit, path: Path) -> None:
    """Draw the figure as SVG, and as PNG with the same layout on white, for slides and papers."""
    import matplotlib as mpl  # noqa: PLC0415  # an extra that other commands do not need
    from matplotlib.figure import Figure  # noqa: PLC0415

    if exhibit.draw is None:
        return
    style: dict[Any, Any] = {**STYLE, "svg.hashsalt": exhibit.name}
    with mpl.rc_context(style):
        figure = Figure(figsize=exhibit.size, layout="constrained")
        exhibit.draw(figure)
        figure.savefig(path, metadata={"Date": None})
        figure.set_layout_engine("none")
        figure.savefig(path.with_suffix(".png"), dpi=_DPI, facecolor="white")


def _flat(table: Any) -> Any:
    """The table for CSV: lists become text, and text that a spreadsheet would execute is escaped."""
    for number, field in enumerate(table.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            cells = [None if value is None else escaped(value) for value in table[field.name].to_pylist()]
            table = table.set_column(number, field.name, pa.array(cells, pa.string()))
        if pa.types.is_list(field.type) or pa.types.is_fixed_size_list(field.type):
            is_text = pa.types.is_string(field.type.value_type)
            spelt = (None if value is None else " ".join(map(str, value)) for value in table[field.name].to_pylist())
            texts = [escaped(text) if is_text and text is not None else text for text in spelt]
            table = table.set_column(number, field.name, pa.array(texts, pa.string()))
    return table
