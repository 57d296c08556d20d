"""Models added since an earlier state or by the newest release, and their drift."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis.drift.cells import by_model, cells_of
from filterzoo_analysis.drift.uncertainty import drift_matrix
from filterzoo_analysis.exhibits import WIDE, Exhibit, Section, query_of, table_of
from filterzoo_analysis.sections import drifts
from filterzoo_analysis.sections import outliers as far_out
from filterzoo_analysis.tables.statistics import Bools
from filterzoo_analysis.zoo import Zoo


def section(zoo: Zoo) -> Section:
    """New models, the drift between new and old models, and new outliers."""
    new, newest = is_new(zoo), newest_release(zoo)
    if zoo.since is not None:
        about = f"Models that the earlier state `{zoo.since.name}` does not have."
    elif newest is not None:
        about = f"Models that came with the newest release, `{newest}`; --since compares with another state."
    else:
        reason = (
            "The models came with one release, and no earlier state was given: --since takes a folder, or a tag or "
            "commit of a data set on the Hub."
        )
        return Section("growth", "Growth", "What was added last, and whether it looks different.", (), (reason,))
    gone = 0 if zoo.since is None else len(zoo.since.models) - int((~new).sum())
    if not new.any():
        summary = f"Nothing was added since; {counted(gone, 'model')} of the earlier state gone."
        return Section("growth", "Growth", about, (), (summary,))
    exhibits = [added(zoo)]
    empty = [f"{counted(gone, 'model')} of the earlier state gone."] if gone else []
    if len(cells_of(zoo.layers, zoo.coefficients, by_model(zoo.layers, "release", _kinds(new))).labels) == 2:
        exhibits.append(drift(zoo))
    else:
        empty.append("No drift between old and new models: one of them has no 3x3 filters.")
    if new[zoo.layers.model].any():
        exhibits.append(outliers(zoo))
    return Section("growth", "Growth", about, tuple(exhibits), tuple(empty))


def newest_release(zoo: Zoo) -> str | None:
    """The last release that added a model, by its day and number; None if all models came with the same release."""
    names = {name for name in zoo.dataset.models["release"].to_pylist() if name is not None}
    return (
        max(names, key=lambda name: [int(number) for number in re.findall("[0-9]+", name)]) if len(names) > 1 else None
    )


def is_new(zoo: Zoo) -> Bools:
    """(models,) whether the earlier state lacks the model or, if none was given, the newest release added it."""
    if zoo.since is None:
        newest = newest_release(zoo)
        return np.array(
            [newest is not None and name == newest for name in zoo.dataset.models["release"].to_pylist()], bool
        )
    known: pa.ChunkedArray = pc.is_in(zoo.dataset.models["model_id"], zoo.since.models["model_id"].combine_chunks())
    found: Bools = ~known.to_numpy()
    return found


def added(zoo: Zoo) -> Exhibit:
    """New models, layers and filters by source."""
    new = zoo.dataset.models.filter(pa.array(is_new(zoo)))
    grouped = (
        new.select(["source", "n_layers", "filters_3x3"])
        .group_by("source")
        .aggregate([([], "count_all"), ("n_layers", "sum"), ("filters_3x3", "sum")])
        .rename_columns(["source", "models", "layers", "filters_3x3"])
        .sort_by([("models", "descending"), ("source", "ascending")])
    )
    summary = ", ".join(f"{row['source']} {row['models']:,}" for row in grouped.to_pylist())
    return Exhibit(
        name="growth_added",
        title=f"Added {_since(zoo)}",
        summary=f"{counted(len(new), 'model')}: {summary}.",
        table=grouped,
        query=_query(zoo, "growth.added"),
        draw=partial(
            figures.bars,
            labels=grouped["source"].to_pylist(),
            series={
                name.replace("filters_3x3", "3x3 filters"): grouped[name].to_pylist()
                for name in grouped.column_names[1:]
            },
            log=True,
        ),
        size=(WIDE, 0.9 + 0.27 * max(3, len(grouped))),
    )


def drift(zoo: Zoo) -> Exhibit:
    """Drift of the new models from the old ones."""
    cells = cells_of(zoo.layers, zoo.coefficients, by_model(zoo.layers, "release", _kinds(is_new(zoo))))
    title = f"Drift between what was there and what was added {_since(zoo)}"
    return drifts.heat_map(zoo, drift_matrix(cells), "growth_drift", title, _query(zoo, "growth.drift"))


def outliers(zoo: Zoo) -> Exhibit:
    """New models by their drift from all others."""
    everything = far_out.outlier_table(zoo, np.ones(len(zoo.dataset.models), bool))
    names = zoo.dataset.models["model_id"].filter(pa.array(is_new(zoo))).combine_chunks()
    table = everything.filter(pc.is_in(everything["model_id"], names))
    far = table.filter(table["outlier"])
    top = table.slice(0, 30)
    return Exhibit(
        name="growth_outliers",
        title="New models by their drift from all others",
        summary=f"{len(far)} of {len(table)} new models are outliers" + _named(far) + ".",
        table=table_of({name: table[name].to_pylist() for name in table.column_names}),
        query=_query(zoo, "growth.outliers"),
        draw=far_out.drifts_of(top),
        size=(WIDE, 1.2 + 0.27 * max(3, len(top))),
        notes=(far_out.OUTLIER_RULE,),
    )


def _named(far: pa.Table) -> str:
    summary = "; ".join(f"{row['model_id']} ({row['because']})" for row in far.slice(0, 10).to_pylist())
    return f": {summary}" if summary else ""


def _kinds(new: Bools) -> list[str | None]:
    return ["added" if each else "earlier" for each in new]


def _since(zoo: Zoo) -> str:
    return f"by release {newest_release(zoo)}" if zoo.since is None else "since the earlier state"


def _query(zoo: Zoo, call: str) -> str:
    query = query_of(zoo, call)
    return query if zoo.since is None else query.replace(")\ntable", f", since={zoo.since.name!r})\ntable")
