"""The picture of the card, drawn if matplotlib is installed: networks by task, and layers over depth."""

from __future__ import annotations

import importlib.util
import io
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo_publish.card.plain import counted_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = "figures/overview.png"
LAYER_COLUMNS = ["conv_depth_norm", "variance_entropy"]
"""Columns of `layers` that the picture needs."""
_TASKS = 8
_DEPTHS = 10
_COLOUR = "#31688e"


Depths = dict[int, "array[float]"]
"""Tenth of the depth, counted from 0 -> the variance entropies of its layers."""


def by_depth(layers: Iterable[pa.Table]) -> Depths:
    """Groups the layers that have a variance entropy. Memory: 8 bytes for each. layers: tables with LAYER_COLUMNS."""
    found: defaultdict[int, array[float]] = defaultdict(lambda: array("d"))
    for table in layers:
        measured = table.filter(pc.field("variance_entropy").is_valid())
        tenth = np.minimum((measured["conv_depth_norm"].to_numpy() * _DEPTHS).astype(int), _DEPTHS - 1)
        entropy = measured["variance_entropy"].to_numpy()
        for number in np.unique(tenth).tolist():
            found[number].frombytes(entropy[tenth == number].astype(np.float64).tobytes())
    return dict(found)


def overview(models: pa.Table, layers: Depths) -> bytes | None:
    """The picture as PNG; None if matplotlib is not installed or there is nothing to draw.

    layers: see `by_depth`. The same tables give the same bytes with the same matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None or not layers:
        return None
    from matplotlib.figure import Figure  # noqa: PLC0415  # an optional extra

    figure = Figure(figsize=(9, 3), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    _draw_tasks(left, models)
    _draw_depths(right, layers)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _draw_tasks(axes: Axes, models: pa.Table) -> None:
    """3x3 filters by task, the largest number on top."""
    totals: Counter[str] = Counter()
    for task, count in zip(counted_words(models["task"].to_pylist()), models["filters_3x3"].to_pylist(), strict=True):
        totals[task] += count
    shown = sorted(totals.items(), key=lambda item: (-item[1], item[0]))[:_TASKS][::-1]
    bars = axes.barh([task for task, _ in shown], [count for _, count in shown], color=_COLOUR)
    axes.bar_label(bars, [f"{count:,}" for _, count in shown], padding=3, fontsize=8)
    axes.margins(x=0.25)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title("3x3 filters by task", loc="left", fontsize=10)
    _bare(axes)


def _draw_depths(axes: Axes, layers: Depths) -> None:
    """Variance entropy over depth: median and quartiles of the layers in each tenth of the depth."""
    filled = np.array(sorted(layers))
    quartiles: npt.NDArray[np.float64] = np.array([np.quantile(layers[n], (0.25, 0.5, 0.75)) for n in filled.tolist()])
    middles = (filled + 0.5) / _DEPTHS
    axes.fill_between(middles, quartiles[:, 0], quartiles[:, 2], color=_COLOUR, alpha=0.25, linewidth=0)
    axes.plot(middles, quartiles[:, 1], color=_COLOUR, marker="o", markersize=3)
    axes.set_xlim(0, 1)
    axes.set_xlabel("depth of the layer (0: first, 1: last)", fontsize=8)
    axes.set_title("variance entropy of 3x3 layers: median, quartiles", loc="left", fontsize=10)
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
