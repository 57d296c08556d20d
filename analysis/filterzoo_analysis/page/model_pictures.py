"""The two pictures of a model in the report: its measures by depth, and a few of its filters.

There are thousands of models, so matplotlib draws the axes once, and the marks of all models in a single figure.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from filterzoo.layers.layer import Doubles, Floats
from filterzoo_analysis.figures import INK, SERIES, STYLE
from filterzoo_analysis.page.rendering import inline
from filterzoo_analysis.sections import quality
from filterzoo_analysis.zoo import Zoo

_SIZE = (6.4, 2.6)
_STYLE: Any = {**STYLE, "path.simplify": False, "svg.hashsalt": "models"}
_MARK = re.compile(r'<g id="marks-(\d+)-(\d+)">\s*<path d="([^"]*)"')
_DOT = re.compile(r"M (\d+(?:\.\d)?)\d* (\d+(?:\.\d)?)\d*\s+L \S+ \S+\s*")
"""Coordinates are cut to a tenth of a point, finer than a dot. In the new path, `h0` draws a dot of zero length."""
_TONES = 19
"""Colours, from blue for -1 over white for 0 to red for 1."""
_ACROSS = 16
"""Filters in a row of the picture. An empty pixel separates them."""


def axes() -> str:
    """An SVG element for the page: axes, legend, and a path for each measure that the page fills for a model."""
    figure, axis = _empty()
    for number, measure in enumerate(quality.MEASURES):
        _draw(axis, np.full(1, 0.5), np.full(1, 0.5), f"marks-{number}", SERIES[number])
        axis.plot([], [], "o", color=SERIES[number], label=measure.replace("_", " "))
    place = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "ncols": len(quality.MEASURES)}
    axis.legend(**place, handletextpad=0.1, frameon=False, labelcolor=INK)
    return inline(_svg(figure), "chart")


def marks(zoo: Zoo, start: Sequence[int]) -> list[list[str]]:
    """For each model and measure, the data of an SVG path for the axes of `axes`: a dot for each layer.

    start: index of each model's first layer, then the number of all layers.
    """
    figure, axis = _empty()
    depth = zoo.layers.numbers("conv_depth_norm")
    for number, measure in enumerate(quality.MEASURES):
        values = zoo.layers.numbers(measure)
        for model, (first, last) in enumerate(pairwise(start)):
            known = np.isfinite(values[first:last]) & np.isfinite(depth[first:last])
            if known.any():
                here = slice(first, last)
                _draw(axis, depth[here][known], values[here][known], f"marks-{model}-{number}", SERIES[number])
    axis.set_axis_off()
    found = [["" for _ in quality.MEASURES] for _ in start[1:]]
    for model, number, path in _MARK.findall(_svg(figure)):
        found[int(model)][int(number)] = _DOT.sub(r"M\1 \2h0", path)
    return found


def filter_grid(filters: Floats, across: int = _ACROSS) -> str:
    """A PNG in base64 of filters (n, 9), n > 0, each scaled to its largest absolute number. A pixel is a weight."""
    rows, columns = -(-len(filters) // across), min(across, len(filters))
    peaks = np.abs(filters).max(axis=1, keepdims=True)
    tones = np.rint((filters / np.where(peaks == 0, 1, peaks) + 1) / 2 * (_TONES - 1)).astype(np.uint8)
    grid = np.full((rows * across, 4, 4), _TONES, np.uint8)
    grid[: len(filters), :3, :3] = tones.reshape(-1, 3, 3)
    pixels = grid.reshape(rows, across, 4, 4).transpose(0, 2, 1, 3).reshape(4 * rows, 4 * across)
    return _png(pixels[:-1, : 4 * columns - 1])


def scale() -> str:
    """A PNG in base64 with a pixel for each colour of `filter_grid`, from -1 to 1."""
    return _png(np.arange(_TONES, dtype=np.uint8)[None])


def colours() -> npt.NDArray[np.uint8]:
    """(tones, 3): red, green and blue for weights from -1 to 1, in all pictures of filters."""
    import matplotlib as mpl  # noqa: PLC0415  # an extra that other commands do not need

    found: npt.NDArray[np.uint8] = mpl.colormaps["RdBu_r"](np.linspace(0, 1, _TONES), bytes=True)[:, :3]
    return found


def _png(tones: npt.NDArray[np.uint8]) -> str:
    """A PNG in base64. Pixels are indices of colours; `_TONES` is transparent."""
    from PIL import Image  # noqa: PLC0415  # an extra that other commands do not need

    picture = Image.fromarray(np.ascontiguousarray(tones))
    picture.putpalette(colours().tobytes() + bytes(3))
    written = io.BytesIO()
    picture.save(written, "PNG", transparency=_TONES, optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def _empty() -> tuple[Any, Any]:
    """A figure with axes at a fixed position, so that the drawings of two figures match."""
    import matplotlib as mpl  # noqa: PLC0415  # an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE)
        axis = figure.add_axes((0.06, 0.2, 0.92, 0.66))
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.03, 1.03), xlabel="relative depth")
        axis.set_xticks([0, 0.5, 1])
        axis.set_yticks([0, 0.5, 1])
        axis.grid(alpha=0.3)
    return figure, axis


def _draw(axis: Any, depths: Doubles, values: Doubles, name: str, colour: str) -> None:
    """Draw each layer as a line of zero length with round ends, so that all dots are a single path."""
    gap = np.full(len(depths), np.nan)
    points = [np.column_stack([numbers, numbers, gap]).ravel() for numbers in (depths, values)]
    axis.plot(*points, gid=name, color=colour, lw=5, alpha=0.8, solid_capstyle="round", clip_on=False)


def _svg(figure: Any) -> str:
    import matplotlib as mpl  # noqa: PLC0415  # an extra

    written = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()
