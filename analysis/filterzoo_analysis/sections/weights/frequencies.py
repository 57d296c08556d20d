"""The distribution of the filters' energy over spatial frequencies, for kernels from 3x3 to 7x7."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.exhibits import WIDE, Exhibit, query_of, shown, table_of
from filterzoo_analysis.sections.weights.rows import over_models, rows_of
from filterzoo_analysis.zoo import Zoo

_DEPTHWISE, _OTHER = "depthwise", "all other"


def content(zoo: Zoo) -> Exhibit | None:
    """Share of energy by radial frequency of the DCT, a panel for each kernel size; None if no layer has it."""
    found, panels = _by_radius(zoo)
    if not found:
        return None
    summary = "; ".join(
        f"{row['kernel']} {row['kind']}: {shown(100 * row['mean'], 0)} % at frequency 0 "
        f"({shown(100 * row['white'], 0)} % without preference)"
        for row in found
        if row["radius"] == 0
    )
    return Exhibit(
        name="frequency_content",
        title="Energy of filters by spatial frequency",
        summary=f"Mean over models, {summary}.",
        table=table_of({key: [row[key] for row in found] for key in found[0]}),
        query=query_of(zoo, "weights.frequencies.content"),
        draw=partial(figures.line_panels, panels=panels, label="share of energy", unknown="no preferred frequency"),
        size=(WIDE, 3.6),
        notes=(
            "Radial frequency of the DCT, in units of 1/(2 side) cycles a pixel (docs/measures.md, 3), of raw filters.",
            "Points: means over models of their layers' means, 95 % intervals. Dashed: no preferred frequency.",
        ),
    )


def _by_radius(zoo: Zoo) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows by kernel, kind and radius; panels of `figures.line_panels` by kernel."""
    rows = rows_of(zoo, "frequency_energy")
    kernels, kinds = rows.words("kernel"), rows.words("kind")
    energy = rows.table["frequency_energy"].to_pylist()
    found: list[dict[str, Any]] = []
    panels: dict[str, Any] = {}
    for kernel in sorted(set(kernels)):
        side = int(kernel.partition("x")[0])
        white = white_energy(side)
        series = {}
        for kind in (_DEPTHWISE, _OTHER):
            here = (kernels == kernel) & ((kinds == "depthwise") == (kind == _DEPTHWISE))
            if not here.any():
                continue
            shares = np.full((len(kernels), len(white)), np.nan)
            shares[here] = [energy[place] for place in np.flatnonzero(here)]
            means = [over_models(shares[:, radius], rows.model, here, (0.0, 1.0)) for radius in range(len(white))]
            found += [
                {"kernel": kernel, "kind": kind, "radius": radius, "cycles_per_pixel": radius / (2 * side)}
                | mean
                | {"white": white[radius]}
                for radius, mean in enumerate(means)
            ]
            name = f"{kind} ({counted(means[0]['models'], 'model')})"
            series[name] = np.array([[mean[end] for mean in means] for end in ("mean", "low", "high")])
        ticks = [str(radius) for radius in range(len(white))]
        along = f"radial frequency, 1/{2 * side} cycles a pixel"
        panels[kernel] = {"ticks": ticks, "series": series, "line": white, "along": along}
    return found, panels


def white_energy(side: int) -> list[float]:
    """Share of the coefficients of a side x side DCT at each radial frequency: the energy of white noise."""
    place = np.arange(side)
    radius = np.rint(np.hypot(place[:, None], place[None, :])).astype(np.int64).ravel()
    return [float(count) / side**2 for count in np.bincount(radius)]
