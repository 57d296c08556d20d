"""Related networks: copies, shared layers, stated descent, and descent inferred from weights."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.reporting.counts import counted
from filterzoo_analysis.exhibits import Exhibit, query_of, table_of
from filterzoo_analysis.zoo import Zoo
from filterzoo_publish.lineage.nearest import FEWEST_LAYERS, NEAR_WEIGHTS
from filterzoo_publish.lineage.table import Relation, lineage_table

_SPELLED = {
    Relation.COPY: "copies",
    Relation.STATED: "descent that a zoo states",
    Relation.SHARED: "shared layers",
    Relation.INFERRED: "descent that weights suggest",
}
_RULE = (
    "inferred: networks that have layers of equal shapes at matching places, other heads and first layers left aside; "
    f"{FEWEST_LAYERS} or more of them differ, and their weights are nearer than {NEAR_WEIGHTS} of the squared distance "
    "that independent networks have on average; each with the five nearest. `other` is the one whose weights have the "
    "larger kurtosis, which falls in fine-tuning (MoTHer, arXiv:2405.18432) and may grow in training that goes on: a "
    "guess, with its size in `direction`."
)


def lineage(zoo: Zoo) -> Exhibit | None:
    """A row for each two related networks, with facts and inferences separate; None if there are none."""
    table = _of(zoo)
    if not len(table):
        return None
    counts = Counter(table["kind"].to_pylist())
    summary = ", ".join(f"{spelled} {counts[kind]:,}" for kind, spelled in _SPELLED.items() if counts[kind])
    return Exhibit(
        name="lineage",
        title="Networks that belong together",
        summary=f"{counted(len(table), 'pair')}: {summary}.",
        table=table_of({name: table[name].to_pylist() for name in table.column_names}),
        query=query_of(zoo, "lineage.lineage"),
        notes=(
            "copy: the same convolutions. stated: `base_model` names the other.",
            "shared_layers: score is the share of the model's layers that the other has as well, by `layer_id`.",
            _RULE,
            *_checked(table, zoo.dataset.models["model_id"].to_pylist()),
        ),
    )


def _of(zoo: Zoo) -> pa.Table:
    """The rows of `lineage` computed from the chosen models, without models that analyses leave out."""
    table = lineage_table(zoo.dataset.models, [zoo.dataset.layers])
    gone = pa.array([name for names in zoo.left_out.values() for name in names], pa.string())
    return table.filter(pc.invert(pc.or_(pc.is_in(table["model_id"], gone), pc.is_in(table["other"], gone))))


def _checked(table: pa.Table, models: list[str]) -> list[str]:
    """A sentence on how many of the stated pairs inference finds, and whether the direction is right."""
    rows, known = table.to_pylist(), set(models)
    stated = {
        (row["model_id"], row["other"]) for row in rows if row["kind"] == Relation.STATED and row["other"] in known
    }
    if not stated:
        return []
    found = {(row["model_id"], row["other"]): row["direction"] for row in rows if row["kind"] == Relation.INFERRED}
    near = [pair for pair in stated if pair in found or pair[::-1] in found]
    right = sum(found.get(pair) is not None for pair in near)
    summary = f"Of {counted(len(stated), 'stated pair')} within the data set {len(near):,} are inferred as well"
    return [
        f"{summary}, {right:,} of them in the stated direction. Layers of other shapes, or frozen ones, tell nothing."
    ]
