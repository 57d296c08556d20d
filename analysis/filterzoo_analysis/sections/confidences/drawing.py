"""Figures of confidence: grids with a row for each image set and a column for each attack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from filterzoo_analysis.figures import INK, SERIES, short
from filterzoo_analysis.sections.confidences.rows import KINDS, Evaluation, Grid, error_of, rates

COLOURS = dict(zip(KINDS, SERIES, strict=False))
_MARKERS = dict(zip(KINDS, ("o", "D", "s"), strict=True))
_GRID = np.linspace(0, 1, 101)


def scatters(figure: Any, found: Sequence[Evaluation], grid: Grid) -> None:
    """Confidence on right (x) and on wrong images (y), coloured by accuracy. A star marks the best corner."""
    image = None
    axes = _axes(figure, grid)
    for axis, here in _panels(axes, found, grid):
        if not here:
            _leave_empty(axis)
            continue
        axis.plot([1], [0], "*", ms=15, color=SERIES[2], clip_on=False, zorder=1)
        for kind, marker in _MARKERS.items():
            own = [each for each in here if each.kind == kind]
            x = [1 - each.number("under_confidence") for each in own]
            y = [each.number("over_confidence") for each in own]
            style = {"cmap": "YlGnBu", "vmin": 0, "vmax": 1, "edgecolors": INK, "linewidths": 0.7, "s": 42, "zorder": 2}
            if own:
                image = axis.scatter(x, y, c=[each.number("accuracy") for each in own], marker=marker, **style)
        axis.set_xlim(-0.03, 1.05)
        axis.set_ylim(-0.05, 1.03)
    _name(axes, grid, "confidence where right", "confidence where wrong")
    if image is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.7, label="accuracy")
        bar.outline.set_visible(False)
    kinds = [kind for kind in KINDS if any(each.kind == kind for each in found)]
    handles = [_marker(axes[0, 0], _MARKERS[kind]) for kind in kinds] + [_marker(axes[0, 0], "*", SERIES[2])]
    figure.legend(handles, [*kinds, "best"], loc="outside upper center", ncols=4)


def grouped_bars(figure: Any, rows: Sequence[Mapping[str, Any]], label: str) -> None:
    """A bar for each kind of network, image set and attack, with its interval. Bars without interval are hollow."""
    axis = figure.subplots()
    places = {key: i for i, key in enumerate(dict.fromkeys((row["image_set"], row["attack"]) for row in rows))}
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    width = 0.8 / len(kinds)
    for number, kind in enumerate(kinds):
        own = [row for row in rows if row["kind"] == kind]
        x = [places[row["image_set"], row["attack"]] + (number - (len(kinds) - 1) / 2) * width for row in own]
        low, high = (np.array([row[f"over_confidence_{end}"] for row in own]) for end in ("low", "high"))
        made = axis.bar(x, [row["over_confidence"] for row in own], 0.9 * width, color=COLOURS[kind], label=kind)
        for bar, end in zip(made, low, strict=True):
            if not np.isfinite(end):
                bar.set(facecolor="none", edgecolor=COLOURS[kind])
        axis.vlines(x, low, high, color=INK, lw=1.6)
    axis.set_xticks(range(len(places)), [f"{short(name, 22)}\n{short(attack, 22)}" for name, attack in places])
    axis.set_ylim(0, 1)
    axis.set_ylabel(label)
    axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)


def rocs(figure: Any, found: Sequence[Evaluation], grid: Grid) -> None:
    """A thin line for each network and a thick one for the mean of each kind. The diagonal is chance."""
    axes = _axes(figure, grid)
    for axis, here in _panels(axes, found, grid):
        if not here:
            _leave_empty(axis)
            continue
        axis.plot([0, 1], [0, 1], "--", color=INK, lw=0.8)
        for kind, colour in COLOURS.items():
            lines = [rates(each.counts()) for each in here if each.kind == kind]
            for false, true in lines:
                axis.plot(false, true, color=colour, lw=0.7, alpha=0.45)
            if lines:
                mean = np.mean([np.interp(_GRID, false, true) for false, true in lines], axis=0)
                # A curve that rises immediately has two values at 0; the first is 0.
                axis.plot([0.0, *_GRID], [0.0, *mean], color=colour, lw=2.2)
        areas = {kind: [each.number("auroc") for each in here if each.kind == kind] for kind in KINDS}
        _annotate(axis, "area", {kind: float(np.mean(own)) for kind, own in areas.items() if own})
    _name(axes, grid, "false positive rate", "true positive rate")
    _colour_legend(figure, axes, [each.kind for each in found])


def reliabilities(figure: Any, found: Sequence[Evaluation], rows: Sequence[Mapping[str, Any]], grid: Grid) -> None:
    """Accuracy against mean confidence of each bin. The dashed line is perfect calibration."""
    axes = _axes(figure, grid)
    for axis, evaluations in _panels(axes, found, grid):
        if not evaluations:
            _leave_empty(axis)
            continue
        wanted = (evaluations[0].image_set, evaluations[0].attack)
        here = [row for row in rows if (row["image_set"], row["attack"]) == wanted and row["images"]]
        axis.plot([0, 1], [0, 1], "--", color=INK, lw=0.8)
        for kind, colour in COLOURS.items():
            own = [row for row in here if row["kind"] == kind]
            x, y = ([row[name] for row in own] for name in ("confidence", "accuracy"))
            total = sum(row["images"] for row in own)
            axis.plot(x, y, color=colour, lw=1, alpha=0.5)
            sizes = [3 + 120 * row["images"] / total for row in own]
            axis.scatter(x, y, s=sizes, color=colour, alpha=0.8, linewidths=0, clip_on=False)
        kinds = {kind: [each for each in evaluations if each.kind == kind] for kind in KINDS}
        _annotate(axis, "ECE", {kind: error_of(own) for kind, own in kinds.items() if own})
        axis.set_xlim(-0.03, 1.03)
        axis.set_ylim(-0.03, 1.03)
    _name(axes, grid, "confidence", "accuracy")
    _colour_legend(figure, axes, [row["kind"] for row in rows])


def _axes(figure: Any, grid: Grid) -> Any:
    return figure.subplots(len(grid.sets), len(grid.attacks), squeeze=False, sharex=True, sharey=True)


def _panels(axes: Any, found: Sequence[Evaluation], grid: Grid) -> Iterator[tuple[Any, list[Evaluation]]]:
    for i, image_set in enumerate(grid.sets):
        for j, attack in enumerate(grid.attacks):
            here = [each for each in found if (each.image_set, each.column) == (image_set, attack)]
            if here and here[0].attack != attack:
                settings = here[0].attack.removeprefix(attack).strip()
                axes[i, j].set_title(short(settings), fontsize=8, loc="right", pad=2)
            yield axes[i, j], here


def _name(axes: Any, grid: Grid, x: str, y: str) -> None:
    for axis, attack in zip(axes[0], grid.attacks, strict=True):
        axis.set_title(short(attack), loc="left")
    for axis in axes[-1]:
        axis.set_xlabel(x)
    for axis, image_set in zip(axes[:, 0], grid.sets, strict=True):
        axis.set_ylabel(f"{short(image_set)}\n{y}")


def _annotate(axis: Any, measure: str, numbers: Mapping[str, float]) -> None:
    """Write a measure of each kind into the corner without curves, in the colour of the kind."""
    for line, (kind, number) in enumerate(reversed(list(numbers.items()))):
        summary = f"{measure} {number:.2f}"
        axis.text(
            0.98, 0.03 + 0.08 * line, summary, ha="right", transform=axis.transAxes, color=COLOURS[kind], fontsize=8
        )


def _leave_empty(axis: Any) -> None:
    axis.text(0.5, 0.5, "not evaluated", ha="center", va="center", transform=axis.transAxes, fontsize=8.5)


def _marker(axis: Any, marker: str, colour: str = INK) -> Any:
    (handle,) = axis.plot([], [], marker, color=colour, ms=11 if marker == "*" else 6)
    return handle


def _colour_legend(figure: Any, axes: Any, kinds: Sequence[str]) -> None:
    present = [kind for kind in KINDS if kind in kinds]
    handles = [axes[0, 0].plot([], [], color=COLOURS[kind], lw=2.2)[0] for kind in present]
    figure.legend(handles, present, loc="outside upper center", ncols=3)
