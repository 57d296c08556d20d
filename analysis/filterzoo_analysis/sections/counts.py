"""Overview: the content of the data set, its known metadata, and what was left out."""

from __future__ import annotations

from collections import Counter
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.reporting.counts import counted
from filterzoo_analysis import figures
from filterzoo_analysis import published_numbers as papers
from filterzoo_analysis.exhibits import WIDE, Answer, Exhibit, Section, query_of, table_of
from filterzoo_analysis.sections import lineage
from filterzoo_analysis.zoo import Zoo
from filterzoo_publish.schema import COLUMNS

AXES = ("source", "task", "visual_category", "licence", "robust")
COVERED = {c.name: c.null for c in COLUMNS["models"] if c.null != "never" and c.name != "duplicate_of"}
"""Columns of `models` that may have nulls -> the meaning of a null."""
UNSTATED = "(not stated)"
_LONGEST = 25
"""Largest number of rows of a bar chart. The table has all."""


def section(zoo: Zoo) -> Section:
    """All figures of the overview."""
    models = zoo.dataset.models
    stated = [by for by in AXES if by == "source" or models[by].null_count < len(models)]
    exhibits = [*(counts(zoo, by) for by in stated), kernel_sizes(zoo), coverage(zoo)]
    unstated = ", ".join(f"`{by}`" for by in AXES if by not in stated)
    empty = [f"No model states {unstated}: nothing to count by."] if unstated else []
    family = lineage.lineage(zoo)
    if family is None:
        empty.append("No networks that belong together: no copies, no shared layers, no base model.")
    else:
        exhibits.append(family)
    if len(zoo.dataset.skipped):
        exhibits.append(skipped(zoo))
    else:
        empty.append("Nothing was left out: `skipped` is empty.")
    about = "What the data set holds, and what is known of it."
    return Section("overview", "Overview", about, tuple(exhibits), tuple(empty))


def counts(zoo: Zoo, by: str) -> Exhibit:
    """Models, layers and filters by a column of `models`. Copies of other models are counted too."""
    models = zoo.dataset.models
    keys = models[by].cast(pa.string()).fill_null(UNSTATED)
    grouped = (
        pa.table({by: keys, "layers": models["n_layers"], "filters_3x3": models["filters_3x3"]})
        .group_by(by)
        .aggregate([([], "count_all"), ("layers", "sum"), ("filters_3x3", "sum")])
        .rename_columns([by, "models", "layers", "filters_3x3"])
        .sort_by([("models", "descending"), (by, "ascending")])
    )
    top = grouped.slice(0, _LONGEST)
    title = f"Models, layers and 3x3 filters by {by.replace('_', ' ')}"
    total = ", ".join(
        (
            counted(len(models), "model"),
            counted(_sum(models["n_layers"]), "layer"),
            counted(_sum(models["filters_3x3"]), "3x3 filter"),
            counted(len(grouped), "value"),
        )
    )
    first = f"; most models: {top[by][0]} with {top['models'][0].as_py():,}" if len(top) else ""
    series = {name.replace("filters_3x3", "3x3 filters"): top[name].to_pylist() for name in grouped.column_names[1:]}
    return Exhibit(
        name=f"counts_{by}",
        title=title,
        summary=f"{total}{first}.",
        table=grouped,
        query=query_of(zoo, "counts.counts", by=by),
        draw=partial(figures.bars, labels=top[by].to_pylist(), series=series, log=True),
        size=(WIDE, 0.9 + 0.27 * max(3, len(top))),
        notes=(f"The {_LONGEST} largest are drawn.",) if len(grouped) > _LONGEST else (),
        answers=_release_answers(zoo) if by == "source" else (),
    )


def kernel_sizes(zoo: Zoo) -> Exhibit:
    """Models, layers and filters by kernel size."""
    layers = zoo.dataset.layers
    grouped = (
        layers.select(["kernel", "n_filters", "model_id"])
        .group_by("kernel")
        .aggregate([("model_id", "count_distinct"), ([], "count_all"), ("n_filters", "sum")])
        .rename_columns(["kernel", "models", "layers", "filters"])
        .sort_by([("layers", "descending"), ("kernel", "ascending")])
    )
    top = grouped.slice(0, _LONGEST)
    series = {name: top[name].to_pylist() for name in ("models", "layers", "filters")}
    summary = ", ".join(f"{row['kernel']}: {counted(row['layers'], 'layer')}" for row in top.slice(0, 5).to_pylist())
    return Exhibit(
        name="counts_kernel",
        title="Models, layers and filters by kernel size",
        summary=f"{counted(len(grouped), 'kernel size')}; {summary}.",
        table=grouped,
        query=query_of(zoo, "counts.kernel_sizes"),
        draw=partial(figures.bars, labels=top["kernel"].to_pylist(), series=series, log=True),
        size=(WIDE, 0.9 + 0.27 * max(3, len(top))),
    )


def coverage(zoo: Zoo) -> Exhibit:
    """The number of models for which each column is known."""
    models = zoo.dataset.models
    known = [len(models) - models[name].null_count for name in COVERED]
    shares = [count / len(models) if len(models) else 0.0 for count in known]
    table = table_of({"column": list(COVERED), "known": known, "share": shares, "empty_means": list(COVERED.values())})
    order = np.argsort(-np.array(shares), kind="stable")
    labels, drawn = [list(COVERED)[i] for i in order], [shares[i] for i in order]
    return Exhibit(
        name="coverage",
        title="What is known of the models",
        summary="; ".join(f"{label} {share:.0%}" for label, share in zip(labels, drawn, strict=True)) + ".",
        table=table,
        query=query_of(zoo, "counts.coverage"),
        draw=partial(figures.bars, labels=labels, series={"share of models": drawn}),
        size=(WIDE, 0.9 + 0.27 * len(labels)),
        notes=("Columns of `models` that may be empty; the others are known of every model.",),
    )


def skipped(zoo: Zoo) -> Exhibit:
    """What was left out, by reason and source."""
    entries = zoo.dataset.skipped
    pairs = Counter(zip(entries["reason"].to_pylist(), entries["source"].to_pylist(), strict=True))
    rows = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    reasons = Counter(entries["reason"].to_pylist()).most_common()
    table = table_of(
        {
            "reason": [reason for (reason, _), _ in rows],
            "source": [source for (_, source), _ in rows],
            "entries": [count for _, count in rows],
        }
    )
    return Exhibit(
        name="skipped",
        title="Left out, by reason",
        summary=f"{counted(len(entries), 'entry', 'entries')}: "
        + ", ".join(f"{reason} {count:,}" for reason, count in reasons)
        + ".",
        table=table,
        query=query_of(zoo, "counts.skipped"),
        draw=partial(
            figures.bars,
            labels=[reason for reason, _ in reasons],
            series={"entries": [count for _, count in reasons]},
        ),
        size=(WIDE, 0.9 + 0.27 * max(3, len(reasons))),
    )


def _release_answers(zoo: Zoo) -> tuple[Answer, ...]:
    models = zoo.dataset.models
    return (
        Answer(papers.MODELS, f"{len(models):,}"),
        Answer(papers.LAYERS, f"{len(zoo.layers):,} (copies left out)"),
        Answer(papers.FILTERS, f"{_sum(models['filters_3x3']):,}"),
    )


def _sum(column: pa.ChunkedArray) -> int:
    return pc.sum(column).as_py() or 0
