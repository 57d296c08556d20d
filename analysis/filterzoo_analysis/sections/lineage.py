"""Which networks belong together: copies, shared layers, descent that a zoo states, and what weights suggest."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo_analysis.exhibits import Exhibit, counted, query_of, table_of
from filterzoo_analysis.zoo import Zoo
from filterzoo_publish.lineage.inferred import FEWEST_LAYERS, NEAR_WEIGHTS
from filterzoo_publish.lineage.table import Kind, lineage_table

_SPELLED = {
    Kind.COPY: "copies",
    Kind.STATED: "descent that a zoo states",
    Kind.SHARED: "shared layers",
    Kind.INFERRED: "descent that weights suggest",
}
_RULE = (
    f"inferred: networks whose layers have equal shapes in equal order, of which {FEWEST_LAYERS} or more differ, and "
    f"whose weights are nearer than {NEAR_WEIGHTS} of the squared distance that independent networks have on average; "
    "each with the five nearest. `other` is the one whose weights have the larger kurtosis, which falls in fine-tuning "
    "(MoTHer, arXiv:2405.18432) and may grow in training that goes on: a guess, with its size in `direction`."
)


def lineage(zoo: Zoo) -> Exhibit | None:
    """A row for each two networks that belong together, facts apart from guesses; None for none."""
    table = _of(zoo)
    if not len(table):
        return None
    counts = Counter(table["kind"].to_pylist())
    told = ", ".join(f"{spelled} {counts[kind]:,}" for kind, spelled in _SPELLED.items() if counts[kind])
    return Exhibit(
        name="lineage",
        title="Networks that belong together",
        says=f"{counted(len(table), 'pair')}: {told}.",
        table=table_of({name: table[name].to_pylist() for name in table.column_names}),
        query=query_of(zoo, "lineage.lineage"),
        notes=(
            "copy: the same convolutions. stated: `base_model` names the other.",
            "shared_layers: score is the share of the model's layers that the other has as well, by `layer_id`.",
            _RULE,
        ),
    )


def _of(zoo: Zoo) -> pa.Table:
    """The rows of the data set's `lineage` that follow from its chosen models, without those that are left out."""
    table = lineage_table(zoo.dataset.models, zoo.dataset.layers)
    gone = pa.array([name for names in zoo.left_out.values() for name in names], pa.string())
    return table.filter(pc.invert(pc.or_(pc.is_in(table["model_id"], gone), pc.is_in(table["other"], gone))))
