"""`confidences`: measures of confidence of published models, in one small file that each release replaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pyarrow as pa

from filterzoo.store.confidences import row_key
from filterzoo_publish.plan.state import PublishedState
from filterzoo_publish.schema import arrow_schema

CONFIG = "confidences"


def confidences_table(published: PublishedState, new: Iterable[dict[str, Any]], models: Collection[str]) -> pa.Table:
    """The rows of `models` (model ids) after the release; new measurements replace old ones."""
    rows = {row_key(row): row for row in (*published.confidences.to_pylist(), *new) if row["model_id"] in models}
    return pa.Table.from_pylist([rows[key] for key in sorted(rows)], schema=arrow_schema(CONFIG))
