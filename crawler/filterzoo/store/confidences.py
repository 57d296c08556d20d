"""Rows of `confidences` in a work folder: measured from logits, published with the next release."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from filterzoo.dataset.parquet import ParquetFile
from filterzoo.dataset.untrusted import WRONG_CONTENT, short_message
from filterzoo.durable import make_folder, settle
from filterzoo.errors import StartError
from filterzoo.files import open_regular

KEY = {
    "model_id": pa.string(),
    "image_set": pa.string(),
    "attack": pa.string(),
    "norm": pa.string(),
    "eps": pa.float64(),
    "steps": pa.int64(),
    "step_size": pa.float64(),
    "restarts": pa.int64(),
    "queries": pa.int64(),
    "stop_rule": pa.string(),
    "seed": pa.int64(),
}
"""The columns that identify an evaluation, with their types; all but the first three may be null."""

_MEASURES = (
    *("accuracy", "over_confidence", "under_confidence", "ece", "auroc", "aupr_errors", "fpr_at_95_tpr"),
    *("nll", "brier", "aurc", "temperature", "ece_calibrated"),
)
_INTERVALS = ("accuracy", "over_confidence", "under_confidence", "ece")
_COUNTS, _SUMS = pa.list_(pa.int64(), 15), pa.list_(pa.float64(), 15)

CONFIDENCE_SCHEMA = pa.schema(
    [
        *KEY.items(),
        ("n", pa.int64()),
        ("classes", pa.int64()),
        *((name, pa.float64()) for name in _MEASURES),
        *((f"{name}_{end}", pa.float64()) for name in _INTERVALS for end in ("low", "high")),
        ("n_right", _COUNTS),
        ("n_wrong", _COUNTS),
        ("z_right", _SUMS),
        ("z_wrong", _SUMS),
        ("logits_id", pa.string()),
    ]
)
"""Columns of `confidences`; `filterzoo_publish.schema` says what each one means."""


def row_key(row: dict[str, Any]) -> tuple[tuple[bool, Any], ...]:
    """The key that identifies and sorts rows; null is last."""
    return tuple((row[name] is None, "" if row[name] is None else row[name]) for name in KEY)


def add_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write rows atomically to a new file of the folder, named by the hash of its bytes."""
    table = pa.Table.from_pylist(sorted(rows, key=row_key), schema=CONFIDENCE_SCHEMA)
    make_folder(folder)
    draft = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        pq.write_table(table, draft)
        with draft.open("rb") as written:
            name = hashlib.file_digest(written, "sha256").hexdigest()[:32]
        place = folder / f"{name}.parquet"
        settle(draft, place)
    finally:
        draft.unlink(missing_ok=True)
    return place


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows of the folder, one for each key: from the newest file, or of equally new ones from the larger name.

    The work folder may come from someone else: FilterZooError for a file that `filterzoo confidence` did not write.
    """
    if not folder.is_dir():
        return []
    files = sorted(folder.glob("*.parquet"), key=lambda file: (file.stat().st_mtime_ns, file.name))
    newest: dict[tuple[tuple[bool, Any], ...], dict[str, Any]] = {}
    for file in files:
        newest |= {row_key(row): row for row in _rows(file)}
    return [newest[key] for key in sorted(newest)]


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        with open_regular(file) as source, ParquetFile(source, where=str(file)) as parquet:
            rows: list[dict[str, Any]] = parquet.read(CONFIDENCE_SCHEMA.names).cast(CONFIDENCE_SCHEMA).to_pylist()
    except (OSError, *WRONG_CONTENT) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise StartError(
            f"{file}: no `filterzoo confidence` wrote it ({short_message(error)}); remove it and measure again"
        ) from error
    return rows
