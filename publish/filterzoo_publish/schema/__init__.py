"""The columns of the published data set: which config has which columns, and what each column means."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from filterzoo.store.encoding import is_list
from filterzoo.store.fragments import with_later_columns
from filterzoo_publish.schema.column import Column
from filterzoo_publish.schema.confidences import CONFIDENCES
from filterzoo_publish.schema.filters import FILTERS, SAMPLE
from filterzoo_publish.schema.layers import LAYERS
from filterzoo_publish.schema.lineage import LINEAGE
from filterzoo_publish.schema.models import MODELS
from filterzoo_publish.schema.state import SKIPPED, STATUS

CONFIGS = ("models", "layers", "filters", "filters_sample", "status", "skipped", "confidences", "lineage")
"""The configs, the default one first. Each has one split, `train`."""

COLUMNS: dict[str, tuple[Column, ...]] = dict(
    zip(CONFIGS, (MODELS, LAYERS, FILTERS, SAMPLE, STATUS, SKIPPED, CONFIDENCES, LINEAGE), strict=True)
)
"""Config -> its columns, in order."""


def arrow_schema(config: str) -> pa.Schema:
    """The schema of every file of the config."""
    return pa.schema([(column.name, column.type) for column in COLUMNS[config]])


def is_schema_of(config: str, schema: pa.Schema) -> bool:
    """Whether a file has the columns of the config; later columns may be missing."""
    names = set(schema.names)
    wanted = [column for column in COLUMNS[config] if column.name in names or not column.is_later]
    return bool(schema.equals(pa.schema([(column.name, column.type) for column in wanted])))


def with_every_column(config: str, table: pa.Table) -> pa.Table:
    """Rows of the config with all its columns. Columns that were added after the rows were written are null."""
    later = [column.name for column in COLUMNS[config] if column.is_later]
    return with_later_columns(table, arrow_schema(config), later)


def features(config: str) -> list[dict[str, Any]]:
    """The config's `features` as the README's `dataset_info` spells them."""
    return [_feature(column) for column in COLUMNS[config]]


def _feature(column: Column) -> dict[str, Any]:
    if not is_list(column.type):
        return {"name": column.name, "dtype": _dtype(column.type)}
    length = {"length": column.type.list_size} if pa.types.is_fixed_size_list(column.type) else {}
    return {"name": column.name, "list": _dtype(column.type.value_type), **length}


def _dtype(kind: pa.DataType) -> str:
    """The name of a type in `datasets`: Arrow's `float` and `double` are `float32` and `float64` there."""
    return {"float": "float32", "double": "float64"}.get(str(kind), str(kind))
