"""Master keys by network and depth: the variance of depthwise filters that a few filters explain."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.layers.layer import Doubles, Floats
from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.drift.uncertainty import mean_interval
from filterzoo_analysis.exhibits import WIDE, Exhibit, query_of, shown, table_of
from filterzoo_analysis.filters.kept import Kept
from filterzoo_analysis.filters.master_keys import IDEAL, Fit, chance, cropped, fit, keys_of
from filterzoo_analysis.filters.passes import run
from filterzoo_analysis.filters.steps import reading_steps
from filterzoo_analysis.sections.weights.rows import rows_of
from filterzoo_analysis.tables.statistics import DECILES
from filterzoo_analysis.zoo import Zoo

_ALL = "all"
_DRAWN = 25
_SHARES = (
    "`share`: mean over filters of how much of a filter's variance about its mean the best key x explains, as a x + b. "
    "`energy_share`: of all filters' variance together. Constant filters are left out."
)
_SETS = {IDEAL: "the eight idealised models of the master key filters (arXiv:2509.12746), not these themselves"}


def explained(zoo: Zoo, keys: str) -> Exhibit | None:
    """How well the keys explain depthwise filters of odd sizes up to their own; None if none are published.

    keys: `ideal`, or a file of filters (`filters.master_keys.read_keys`).
    """
    given = keys_of(keys)
    sides = [side for side in (3, 5, 7, 9, 11, 13) if side <= given.shape[1]]
    by_size = {side * side: cropped(given, side) for side in sides}
    fits = _fits(zoo, by_size)
    rows = _rows(zoo, fits, {f"{side}x{side}": chance(by_size[side * side]) for side in sides}, len(given))
    if not rows:
        return None
    networks = [row for row in rows if row["depth"] == _ALL]
    networks.sort(key=lambda row: (-row["share"], row["model_id"]))
    top = networks[:_DRAWN]
    panels = _panels(rows)
    summary = "; ".join(
        f"{row['model_id']} {row['kernel']} {shown(row['share'])} (chance {shown(row['chance'])})" for row in top[:4]
    )
    return Exhibit(
        name="master_keys",
        title="Depthwise filters as a x + b of master keys",
        summary=f"{counted(len(networks), 'network and kernel size', 'networks and kernel sizes')}: {summary}.",
        table=table_of(
            {key: [row[key] for row in (*networks, *(r for r in rows if r["depth"] != _ALL))] for key in rows[0]}
        ),
        query=query_of(zoo, "weights.master_keys.explained", keys=keys),
        draw=partial(_draw, top=top, panels=panels),
        size=(WIDE, 1.4 + 0.27 * max(9, len(top))),
        notes=(
            f"Keys: {_SETS.get(keys, 'those of the given file')}. Smaller kernels: the middles of the keys.",
            _SHARES,
            "`chance`: of independent normal numbers; it grows as kernels shrink.",
            *((f"The {_DRAWN} largest are drawn.",) if len(networks) > _DRAWN else ()),
        ),
    )


def _fits(zoo: Zoo, by_size: dict[int, Doubles]) -> dict[str, Fit]:
    """layer_id -> its fit, for the depthwise layers whose filters are published."""
    table = rows_of(zoo, "filters_file").table
    wanted = pa.array([f"{side}x{side}" for side in (int(np.sqrt(size)) for size in by_size)])
    table = table.filter(pc.and_(pc.equal(table["kind"], "depthwise"), pc.is_in(table["kernel"], wanted)))
    if zoo.dataset.files is None or not len(table):
        return {}

    def work(pieces: Iterator[Floats]) -> Fit:
        held = list(pieces)
        return fit(held, by_size[held[0].shape[1]])

    return dict(run(zoo.dataset.files, reading_steps(zoo.dataset.files, table), work, Kept(0)))


def _rows(zoo: Zoo, fits: dict[str, Fit], by_chance: dict[str, float], keys: int) -> list[dict[str, Any]]:
    """A row for each network, kernel size and depth (a decile, or all)."""
    layers = rows_of(zoo, "filters_file")
    members: defaultdict[tuple[str, str, str], list[Fit]] = defaultdict(list)
    columns = (layers.table[name].to_pylist() for name in ("model_id", "kernel", "layer_id"))
    for (model, kernel, layer), decile in zip(zip(*columns, strict=True), layers.decile, strict=True):
        if layer in fits and fits[layer].filters:
            members[model, kernel, _ALL].append(fits[layer])
            members[model, kernel, DECILES[decile]].append(fits[layer])
    rows = []
    for (model, kernel, depth), found in sorted(members.items()):
        filters = sum(each.filters for each in found)
        best = np.sum([each.best for each in found], axis=0)
        rows.append(
            {
                "model_id": model,
                "kernel": kernel,
                "depth": depth,
                "layers": len(found),
                "filters": filters,
                "share": sum(each.shares for each in found) / filters,
                "energy_share": sum(each.explained for each in found) / sum(each.variance for each in found),
                "chance": by_chance[kernel],
                **{f"key_{number + 1}": int(best[number]) / filters for number in range(keys)},
            }
        )
    return rows


def _panels(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over networks by depth, a series for each kernel size."""
    series = {}
    for kernel in sorted({row["kernel"] for row in rows}):
        found = [
            mean_interval(np.array([row["share"] for row in rows if row["kernel"] == kernel and row["depth"] == depth]))
            for depth in DECILES
        ]
        series[f"{kernel}, chance {next(row['chance'] for row in rows if row['kernel'] == kernel):.2f}"] = np.array(
            found
        ).T
    return {"mean over networks, by depth": {"ticks": DECILES, "series": series, "along": "relative depth"}}


def _draw(figure: Any, top: list[dict[str, Any]], panels: dict[str, Any]) -> None:
    left, right = figure.subfigures(1, 2, width_ratios=[1.2, 1])
    names = [row["model_id"].partition("@")[0].rpartition("/")[2] for row in top]
    labels = [f"{figures.short(name, 25)} {row['kernel']}" for name, row in zip(names, top, strict=True)]
    figures.bars(left, labels, {"share of variance explained": [row["share"] for row in top]})
    figures.line_panels(right, panels, "share of variance explained")
