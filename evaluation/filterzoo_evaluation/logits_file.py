"""Writes logits as Parquet, atomically: a file for each evaluation, named by the hash of its options."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from filterzoo.durable import whole_file
from filterzoo.store.confidences import KEY

LOGITS_SCHEMA = pa.schema(
    [
        *KEY.items(),
        ("sample_id", pa.string()),
        ("label", pa.int64()),
        ("logits", pa.list_(pa.float32())),
        ("transform", pa.string()),
        ("versions", pa.string()),
    ]
)
"""Columns of the tables of logits that `filterzoo evaluate` writes."""

Rows = tuple[Sequence[str], Sequence[int], np.ndarray]
"""(sample ids, labels, logits (n, classes) float32)."""


def logits_path(folder: Path, key: Mapping[str, Any], asked: Mapping[str, Any]) -> Path:
    """The file of an evaluation. asked: what the logits depend on besides the key, such as network and versions."""
    text = json.dumps([dict(key), dict(asked)], sort_keys=True)
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.parquet"


def write_logits(place: Path, key: Mapping[str, Any], asked: Mapping[str, str], batches: Iterable[Rows]) -> None:
    """Write an evaluation batch by batch. asked: the values of the columns `transform` and `versions`."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(place) as draft, pq.ParquetWriter(draft, LOGITS_SCHEMA, compression="zstd") as writer:
        for ids, labels, logits in batches:
            fixed = {name: [value] * len(ids) for name, value in {**key, **asked}.items()}
            own = {"sample_id": list(ids), "label": list(labels), "logits": list(logits.astype(np.float32))}
            columns = fixed | own
            arrays = [pa.array(columns[field.name], field.type) for field in LOGITS_SCHEMA]
            writer.write_table(pa.table(arrays, schema=LOGITS_SCHEMA))
