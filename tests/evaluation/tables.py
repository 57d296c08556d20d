"""Tables of logits for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def logits_and_labels(seed: int, n: int = 500, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right more often than not, with ties in confidence."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, n)
    logits = random.normal(0, 1, (n, classes)).round(1)
    logits[np.arange(n), labels] += random.choice([0.0, 1.0, 3.0], n)
    return logits.astype(np.float32), labels


def table(model: str, logits: np.ndarray, labels: np.ndarray, **settings: Any) -> pa.Table:
    """One evaluation; settings overwrite or add columns of one value."""
    n = len(labels)
    columns = {"model_id": model, "image_set": "digits", "attack": "none"} | settings
    fixed = {name: pa.array([value] * n) for name, value in columns.items()}
    return pa.table(
        fixed
        | {
            "sample_id": pa.array([f"s{number:05}" for number in range(n)]),
            "label": pa.array(labels, pa.int64()),
            "logits": pa.array(list(logits), pa.list_(pa.float32())),
        }
    )


def write(path: Path, *tables: pa.Table, row_group_size: int | None = None) -> Path:
    """The tables in one Parquet file."""
    pq.write_table(pa.concat_tables(tables, promote_options="default"), path, row_group_size=row_group_size)
    return path
