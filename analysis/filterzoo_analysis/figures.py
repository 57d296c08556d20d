"""The kinds of plots, drawn with matplotlib on an empty figure. Text takes the colour of the page's theme."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from filterzoo.layers.layer import Doubles
from filterzoo_analysis.tables.statistics import Bools

INK = "#060607"
"""The colour of text and lines: a black used for nothing else, which pages replace by their own colour."""
SERIES = ("#0f77b8", "#d9631e", "#139a74", "#b64f90", "#a98600", "#5b5bd6", "#c0392b", "#3f7f3f")
"""Colours of series. They can be told apart with all common kinds of colour vision, on white and on black."""
DRIFTS = (0.01, 10.0)
"""The range of the colour scale of drifts, in nats, for all matrices."""
_MARK = re.compile(r"( \([\d,]+( / [\d,]+)?†?\))?\*?$")
"""What labels end with: a number of models, and a star."""
_FEWEST_BARS = 3
"""The smallest figure has room for this many bars."""
_OFFSET = 0.07
"""Horizontal distance between the points of two series at a tick."""
STYLE: Mapping[str, Any] = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 10,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "text.parse_math": False,
}


def bars(figure: Any, labels: Sequence[str], series: Mapping[str, Sequence[float]], *, log: bool = False) -> None:
    """Horizontal bars with their numbers, a panel for each series."""
    axes = np.atleast_1d(figure.subplots(1, len(series), sharey=True))
    places = np.arange(len(labels))[::-1]
    for axis, (name, values), colour in zip(axes, series.items(), SERIES, strict=False):
        axis.barh(places, values, color=colour, height=0.7)
        axis.set_title(f"{name} (log scale)" if log else name)
        if log and max(values, default=0) > 0:
            axis.set_xscale("symlog", linthresh=1)
            axis.set_xlim(0, max(values) * 30)
        else:
            axis.set_xlim(0, max([*values, 0]) * 1.3 or 1)
        for place, value, text in zip(places, values, _alike(values), strict=True):
            offset = {"xytext": (4, 0), "textcoords": "offset points"}
            axis.annotate(text, (value, place), **offset, va="center", fontsize=8.5)
        axis.xaxis.set_visible(False)
        axis.spines["bottom"].set_visible(False)
        axis.spines["left"].set_bounds(-0.6, max(0.6, len(labels) - 0.4))
    axes[0].set_yticks(places, [short(label) for label in labels])
    # Few bars are as thin as many.
    axes[0].set_ylim(-0.6 - max(0, _FEWEST_BARS - len(labels)), len(labels) - 0.4)


def kernels(figure: Any, filters: Doubles, titles: Sequence[str], columns: int) -> None:
    """3x3 filters as images, (n, 9), each scaled to its largest absolute number."""
    rows = -(-len(filters) // columns)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    images: list[Any] = []
    for number, axis in enumerate(axes):
        if number >= len(filters) or np.isnan(filters[number]).any():
            axis.set_axis_off()
            continue
        _frame(axis)
        limit = float(np.abs(filters[number]).max()) or 1.0
        image = axis.imshow(filters[number].reshape(3, 3) / limit, cmap="RdBu_r", vmin=-1, vmax=1)
        images.append(image)
        if number < len(titles):
            axis.set_title(titles[number], fontsize=9, loc="left")
    if images:
        bar = figure.colorbar(images[0], ax=list(axes), shrink=0.8 / rows**0.5, pad=0.01, ticks=[-1, 0, 1])
        bar.set_label("weight / largest", fontsize=8)
        bar.outline.set_visible(False)


def _frame(axis: Any) -> None:
    """A thin frame around an image, without ticks: light edges are not lost in the page's ground."""
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set(visible=True, linewidth=0.5)


def ridges(
    figure: Any, labels: Sequence[str], bins: tuple[Doubles, Doubles], smooth: Doubles, names: Sequence[str]
) -> None:
    """A row for each group and a column for each coefficient: a filled histogram, and a density estimate as a line.

    bins: densities (groups, 9, bins) and the edges. smooth: the estimate at the bins' centres, (groups, 9, bins).
    """
    distributions, edges = bins
    groups, count, _ = distributions.shape
    axes = figure.subplots(1, count, sharey=True)
    centres = (edges[1:] + edges[:-1]) / 2
    for number, axis in enumerate(axes):
        peaks = distributions[:, number].max(axis=1, keepdims=True) + 1e-300
        heights, curves = distributions[:, number] / peaks, np.minimum(smooth[:, number] / peaks, 1.2)
        shown = _shown_range(distributions[:, number])
        for group in range(groups):
            base = groups - 1 - group
            colour = SERIES[group % len(SERIES)]
            filled = base + 1.4 * heights[group, shown]
            axis.fill_between(centres[shown], base, filled, color=colour, alpha=0.35, lw=0, zorder=group, step="mid")
            axis.plot(centres[shown], base + 1.4 * curves[group, shown], color=colour, lw=0.9, zorder=group)
        axis.set_title(names[number], fontsize=8.5)
        axis.tick_params(axis="x", labelsize=7)
        axis.set_xticks([-2, 0, 2] if centres[shown][-1] >= 2 and centres[shown][0] <= -2 else [-1, 0, 1])
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(groups), [short(label, 34) for label in labels[::-1]])
    figure.supxlabel("coefficient of the scaled filter (no unit); height: density / peak of its curve", fontsize=8.5)


def heat_map(
    figure: Any,
    labels: Sequence[str],
    values: Doubles,
    marked: Bools,
    pairs: tuple[Sequence[str], Doubles, Doubles] | None = None,
) -> None:
    """A symmetric matrix. A star marks significant entries. Small matrices show numbers. All share one colour scale.

    pairs: names, (3, n) values with intervals, and (n,) expected values, for a panel beside a small matrix.
    """
    from matplotlib.colors import LogNorm  # noqa: PLC0415  # an extra that only figures need

    part, beside = (figure, None) if pairs is None else figure.subfigures(1, 2, width_ratios=[1.1, 1], wspace=0.03)
    axis = part.subplots()
    size = len(labels)
    shown = np.where(np.eye(size, dtype=bool), np.nan, values)
    scale = LogNorm(*DRIFTS, clip=True)
    image = axis.imshow(
        np.where(shown > 0, shown, np.where(np.isnan(shown), np.nan, DRIFTS[0])),
        cmap="viridis",
        norm=scale,
        aspect="auto",
    )
    if size <= 20:
        for row, column in zip(*np.nonzero(~np.eye(size, dtype=bool)), strict=True):
            value = values[row, column]
            text = f"{value:.2f}"[1:] if value < 0.995 else f"{value:.1f}"
            star = "*" if marked[row, column] else ""
            colour = "black" if value > 0 and scale(value) > 0.6 else "white"
            axis.text(
                column, row, text + star, ha="center", va="center", color=colour, fontsize=7 if size > 12 else 8.5
            )
    axis.set_xticks(
        range(size), [short(label, 34) for label in labels], rotation=45, ha="right", rotation_mode="anchor"
    )
    axis.set_yticks(range(size), [short(label, 34) for label in labels])
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    bar = part.colorbar(image, extend="both", ax=axis, shrink=0.7, pad=0.02, label="drift, nats (log scale)")
    _plain_ticks(bar, (0.01, 0.1, 1, 10))
    bar.outline.set_visible(False)
    if pairs is not None:
        names, found, expected = pairs
        intervals(beside, names, found, "drift, nats", expected=expected)


def boxes(figure: Any, samples: Mapping[str, Doubles], label: str) -> None:
    """Box plots side by side, with whiskers at 1.5 interquartile ranges."""
    axis = figure.subplots()
    axis.boxplot(list(samples.values()), **_box_style(SERIES[0]))
    axis.set_xticks(
        range(1, len(samples) + 1),
        [f"{short(name)}\n{len(values)} {'pair' if len(values) == 1 else 'pairs'}" for name, values in samples.items()],
    )
    axis.set_ylabel(label)


def depth_panels(
    figure: Any, ticks: Sequence[str], panels: Mapping[str, Mapping[str, Mapping[str, Any]]], columns: int = 0
) -> None:
    """A panel for each measure, `columns` side by side (0: all), with boxes by depth, means and intervals.

    panels[measure][series] holds `boxes` (a list of samples), `mean`, `low`, `high`, and optionally a dashed `line`.
    """
    columns = columns or len(panels)
    grid = figure.subplots(-(-len(panels) // columns), columns, squeeze=False, sharey="row" if columns > 3 else False)
    axes = grid.ravel()[: len(panels)]
    for axis, (measure, series) in zip(axes, panels.items(), strict=True):
        for number, (name, shown) in enumerate(series.items()):
            colour = SERIES[number]
            offset = (number - (len(series) - 1) / 2) * 0.38
            places = np.arange(len(ticks)) + offset
            filled = [values if len(values) else [np.nan] for values in shown["boxes"]]
            axis.boxplot(filled, positions=places, widths=0.3 if len(series) > 1 else 0.55, **_box_style(colour))
            axis.vlines(places, shown["low"], shown["high"], color=colour, lw=1.5)
            _points(axis, places, shown["mean"], np.isfinite(shown["low"]), color=colour, label=name)
            if "line" in shown:
                axis.plot(places, shown["line"], "--", color=INK, lw=1.2, label="mean threshold")
        axis.set_title(measure)
        if axis.get_ylim()[0] < 0:  # measures are not negative; matplotlib centres an axis with only zeros
            top = 1.05 * float(axis.dataLim.y1) or 0.1
            axis.set_ylim(-0.03 * top, top)
        axis.set_xticks(range(len(ticks)), ticks, rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
        axis.set_xlabel("relative depth")
        if len(series) > 1 or any("line" in shown for shown in series.values()):
            axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.06), ncols=3)


def lines(figure: Any, ticks: Sequence[str], series: Mapping[str, Doubles], label: str, along: str = "") -> None:
    """A line for each series, (3, ticks): values, lower and upper ends of intervals. along: the label of the x axis."""
    axis = figure.subplots()
    for number, (name, found) in enumerate(series.items()):
        _line(axis, found, name, number, len(series))
    _name_ticks(axis, ticks, along)
    axis.set_ylabel(label)
    axis.set_ylim(bottom=min(0.0, axis.get_ylim()[0]))
    # Above the axes it covers nothing.
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=6)


def line_panels(figure: Any, panels: Mapping[str, Mapping[str, Any]], label: str = "", unknown: str = "") -> None:
    """A panel for each name, with a line for each of its `series`: name -> (3, ticks) values, low, high.

    A panel may have a dashed `line`, labelled `unknown`, and the label `along` of its x axis. label: that of the first
    panel's y axis.
    """
    axes = np.atleast_1d(figure.subplots(1, len(panels)))
    for axis, (title, panel) in zip(axes, panels.items(), strict=True):
        series = panel["series"]
        for number, (name, found) in enumerate(series.items()):
            _line(axis, found, short(name, 40), number, len(series))
        if "line" in panel:
            axis.plot(np.arange(len(panel["ticks"])), panel["line"], "--", color=INK, lw=1.2, label=unknown)
        axis.set_title(title)
        _name_ticks(axis, panel["ticks"], panel.get("along", ""))
        tops = [np.nanmax(np.stack(found), initial=0.0) for found in series.values()]
        # The upper part of the panel is left to the legend.
        share = 0.05 + 0.06 * (len(series) + ("line" in panel))
        axis.set_ylim(0, max([*tops, *panel.get("line", [])]) / (1 - share) or 1)
        axis.legend(fontsize=7.5, loc="upper right")
    axes[0].set_ylabel(label)


def _line(axis: Any, found: Doubles, name: str, number: int, count: int) -> None:
    """Series `number` of `count`, (3, ticks): values, low, high. Unknown values are skipped; series are offset."""
    values, low, high = found
    places, colour = np.arange(len(values)) + (number - (count - 1) / 2) * _OFFSET, SERIES[number % len(SERIES)]
    known = np.isfinite(values)
    axis.plot(places[known], values[known], "-", color=colour)
    axis.vlines(places, low, high, color=colour, alpha=0.4, lw=4)
    _points(axis, places, values, np.isfinite(low), color=colour, label=name)


def _name_ticks(axis: Any, ticks: Sequence[str], along: str) -> None:
    """Label the ticks. Long labels are rotated, so that they do not overlap."""
    rotated = {"rotation": 60, "ha": "right", "rotation_mode": "anchor", "fontsize": 7.5}
    axis.set_xticks(range(len(ticks)), ticks, **(rotated if max(map(len, ticks)) > 2 else {}))
    axis.set_xlabel(along)


def densities(figure: Any, clouds: Mapping[str, Doubles], columns: int = 4) -> None:
    """Density of points (n, 2) on [-3.3, 3.3]^2, relative to its peak, on a logarithmic scale, as in the paper."""
    from matplotlib.colors import LogNorm  # noqa: PLC0415  # an extra that only figures need

    columns = max(1, min(columns, len(clouds)))
    rows = -(-len(clouds) // columns)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes[len(clouds) :]:
        axis.set_axis_off()
    images: list[Any] = []
    for axis, (name, points) in zip(axes, clouds.items(), strict=False):
        bins = 128 if len(points) > 20_000 else 64
        counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], bins=bins, range=[[-3.3, 3.3]] * 2)
        axis.set_facecolor("black")
        image = axis.imshow(
            np.where(counts.T > 0, counts.T / max(1.0, counts.max()), np.nan),
            origin="lower",
            extent=(-3.3, 3.3, -3.3, 3.3),
            cmap="inferno",
            norm=LogNorm(1e-3, 1),
            interpolation="nearest",
        )
        axis.set_title(short(name), fontsize=9)
        axis.set_xticks([-3, 0, 3])
        axis.set_yticks([-3, 0, 3])
        axis.tick_params(labelsize=7)
        axis.set_xlabel("c0", fontsize=8, labelpad=1)
        axis.set_ylabel("c1", fontsize=8, labelpad=1)
        images.append(image)
    if images:
        bar = figure.colorbar(images[0], ax=list(axes), shrink=0.5, pad=0.01)
        bar.set_label("density / its peak (log scale)", fontsize=8)
        _plain_ticks(bar, (0.001, 0.01, 0.1, 1))
        bar.outline.set_visible(False)


def intervals(
    figure: Any,
    labels: Sequence[str],
    found: Doubles,
    label: str,
    *,
    stands_out: Sequence[bool] | None = None,
    expected: Doubles | None = None,
) -> None:
    """A row for each point with its interval, and a vertical line at zero. found: (3, n), values, low, high.

    stands_out: which points are significant after correction; the others are drawn faintly. None if all are.
    expected: (n,), drawn as a short line beside each value.
    """
    values, low, high = found
    strong = np.ones(len(values), bool) if stands_out is None else np.array(stands_out, bool)
    axis = figure.subplots()
    places = np.arange(len(labels))[::-1]
    known = np.isfinite(low)
    for rows, style in ((known & strong, {"color": SERIES[0]}), (known & ~strong, {"color": INK, "alpha": 0.55})):
        axis.hlines(places[rows], low[rows], high[rows], lw=2, **style)
        axis.plot(values[rows], places[rows], "o", **style)
    axis.plot(values[~known], places[~known], "o", mfc="none", color=SERIES[1])
    axis.axvline(0, color=INK, lw=0.8)
    if expected is not None:
        axis.plot(expected, places, "|", ms=9, mew=1.6, color=INK, label="expected of as few filters")
        axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    axis.set_yticks(places, [short(name, 72) for name in labels])
    axis.set_xlabel(label)


def pictures(figure: Any, rows: Sequence[Any], labels: Sequence[str]) -> None:
    """Rows of images: each row is an array (n, height, width) or (n, height, width, 3)."""
    columns = max(len(row) for row in rows)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, row, label in zip(axes, rows, labels, strict=True):
        for axis, image in zip(line, row, strict=False):
            axis.imshow(image, cmap="gray", interpolation="nearest")
        for axis in line:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_frame_on(False)
        line[0].set_ylabel(label.replace(": ", "\n"), fontsize=8)


def short(label: str, longest: int = 30) -> str:
    """The label, shortened to `longest` characters; unprintable characters are replaced.

    What follows the name stays: a star, which marks what is significant, or a number of models in brackets.
    """
    text = "".join(char if char.isprintable() else "?" for char in label)
    if len(text) <= longest:
        return text
    end = _MARK.search(text)
    kept = end.group() if end and len(end.group()) < longest // 2 else ""
    return f"{text[: longest - 1 - len(kept)]}…{kept}"


def _plain_ticks(bar: Any, values: Sequence[float]) -> None:
    """Ticks as plain numbers, not as powers of ten: formulas are not drawn (`text.parse_math`)."""
    bar.set_ticks(values, labels=[f"{value:g}" for value in values])
    bar.ax.minorticks_off()


def _points(axis: Any, places: Any, values: Doubles, known: Bools, **style: Any) -> None:
    """Filled markers for values with an interval, hollow ones for values without."""
    axis.plot(places[known], values[known], "o", ms=4, **style)
    axis.plot(places[~known], values[~known], "o", ms=4, mfc="none", color=style["color"])


def _alike(values: Sequence[float]) -> list[str]:
    """The numbers of a column with the same number of decimals: none if all are of type int (counts), else two."""
    decimals = 0 if all(isinstance(value, int) for value in values) else 2
    return [f"{value:,.{decimals}f}" for value in values]


def _shown_range(distributions: Doubles) -> slice:
    """The range of bins in which some group exceeds a thousandth of its peak."""
    used = np.flatnonzero((distributions > 1e-3 * distributions.max(axis=1, keepdims=True)).any(axis=0))
    return slice(0, distributions.shape[-1]) if not len(used) else slice(max(0, used[0] - 1), used[-1] + 2)


def _box_style(colour: str) -> dict[str, Any]:
    return {
        "showfliers": False,
        "patch_artist": True,
        "boxprops": {"facecolor": colour + "55", "edgecolor": colour, "lw": 0.8},
        "medianprops": {"color": colour, "lw": 1.4},
        "whiskerprops": {"color": colour, "lw": 0.8},
        "capprops": {"color": colour, "lw": 0.8},
    }
