"""The columns of `lineage`: a row for each two related networks."""

from __future__ import annotations

import pyarrow as pa

from filterzoo_publish.schema.column import MODEL_ID, Column

_SCHEMA = pa.schema(
    [
        ("model_id", pa.string()),
        ("other", pa.string()),
        ("kind", pa.string()),
        ("score", pa.float64()),
        ("weights_distance", pa.float64()),
        ("moments_distance", pa.float64()),
        ("direction", pa.float64()),
    ]
)
_ONLY_INFERRED = "not inferred"
_LINEAGE_MEANINGS = {
    "model_id": (MODEL_ID.meaning, "", "never"),
    "other": ("the `model_id` of the other one; a name as stated, where the data set lacks it", "", "never"),
    "kind": (
        "what joins them: facts, or a guess from weights (docs/measures.md, 6)",
        "copy, stated, shared_layers; inferred",
        "never",
    ),
    "score": (
        "copy: 1; shared_layers: share of the model's layers that the other has; inferred: 1 - the distance",
        "[0, 1]",
        "stated",
    ),
    "weights_distance": ("distance of their weights at equal shapes", "0 equal, 1 independent", _ONLY_INFERRED),
    "moments_distance": (
        "distance of their mean 3x3 filters, in units of what sampling gives",
        "0 equal, 1 independent",
        f"{_ONLY_INFERRED}, or fewer than three 3x3 layers",
    ),
    "direction": (
        "mean of ln(kurtosis of the other / of the model): the other is inferred to be the older one",
        "> 0",
        f"{_ONLY_INFERRED}, or not known: then in the order of names",
    ),
}
LINEAGE = tuple(Column(field.name, field.type, *_LINEAGE_MEANINGS[field.name]) for field in _SCHEMA)
