"""The columns of `filters` and `filters_sample`."""

from __future__ import annotations

import pyarrow as pa

from filterzoo.store.filters import BLOCK, PUBLISHED_SCHEMA
from filterzoo_publish.schema.column import (
    CATEGORY,
    FLOAT,
    INT,
    LAYER_ID,
    LICENCE_CLASS,
    MODEL_ID,
    SOURCE,
    TASK,
    TRAINING,
    Column,
)

DEPTH = Column("conv_depth_norm", FLOAT, "depth where the layer first occurs in that checkpoint", "[0, 1]")
_FILTER_MEANINGS: dict[str, tuple[str, ...]] = {
    "model_id": ("the first checkpoint that has the layer; `layers` lists all of them",),
    "kernel": ("kernel size", "`3x3`"),
    "first_filter": ("number of the block's first filter in its layer", "0 = first"),
    "n_filters": ("filters in the block", f"1 to {BLOCK}"),
    "weights": ("the filters one after the other, row-major: `.reshape(-1, 3, 3)`",),
}
_SHARED = {column.name: column for column in (LAYER_ID, SOURCE, LICENCE_CLASS, TASK, CATEGORY, DEPTH)}
FILTERS = tuple(
    Column(field.name, field.type, *_FILTER_MEANINGS[field.name])
    if field.name in _FILTER_MEANINGS
    else _SHARED[field.name]
    for field in PUBLISHED_SCHEMA
)

SAMPLE = (
    MODEL_ID,
    LAYER_ID,
    Column("filter_index", INT, "number of the filter in its layer", "0 = first"),
    SOURCE,
    LICENCE_CLASS,
    TASK,
    TRAINING,
    CATEGORY,
    DEPTH,
    Column("weights", pa.list_(pa.float32(), 9), "one 3x3 filter, row-major"),
)
