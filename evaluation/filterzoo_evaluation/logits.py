"""Reads and validates tables of logits.

They are untrusted input: every value is checked, and an invalid one is refused with its file, row and reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.parquet import ParquetFile
from filterzoo.errors import FilterZooError, StartError
from filterzoo.files import open_regular
from filterzoo.store.confidences import KEY

REQUIRED = ("model_id", "image_set", "attack", "sample_id", "label", "logits")
"""Columns that a table must have, without nulls."""
_SETTINGS = tuple(name for name in KEY if name not in REQUIRED)
_IS_OF_TYPE = {
    pa.string(): lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    pa.int64(): pa.types.is_integer,
    pa.float64(): lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
}
_SAMPLE_TYPES = {"sample_id": pa.string(), "label": pa.int64()}
_KEY_SCHEMA = pa.schema([(name, kind) for name, kind in KEY.items()])
_MOST_ROWS = 100_000_000
_MOST_CLASSES = 1_000_000
_LARGEST_LOGIT = float(np.finfo(np.float32).max)
"""Differences of larger logits would overflow."""
_LONGEST_FOOTER = 32 << 20
"""In bytes. Footers are long, because a table has a row group for each batch of images."""
_LARGEST_GROUP = 1 << 40
"""In bytes. pandas writes a million rows as a single row group; another limit bounds the expansion of files."""


class WrongLogits(StartError):
    """Raised for an invalid table of logits. No row of it is measured; exit code 2."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The samples of a network on an image set under an attack.

    key: the columns of `store.confidences.KEY`. sample_ids: (n,) strings, sorted. labels: (n,) int64.
    logits: (n, classes) float64, finite.
    """

    key: dict[str, Any]
    sample_ids: list[str]
    labels: np.ndarray
    logits: np.ndarray


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of a row group that belong to the same evaluation. first_row: number of the row group's first row."""

    file: Path
    row_group: int
    first_row: int
    rows: np.ndarray


def read_evaluations(files: Sequence[Path]) -> Iterator[Evaluation]:
    """The evaluations in all files, sorted by their keys. Only one is in memory at a time. Raises WrongLogits."""
    parts: dict[tuple[Any, ...], list[_Part]] = {}
    for file in files:
        for key, part in _parts(file):
            parts.setdefault(key, []).append(part)
    for key in sorted(parts, key=lambda values: tuple((value is None, value) for value in values)):
        yield _evaluation(dict(zip(KEY, key, strict=True)), parts[key])


def _parts(file: Path) -> Iterator[tuple[tuple[Any, ...], _Part]]:
    first_row = 0
    with _opened(file) as parquet:
        _check_columns(file, parquet.schema_arrow)
        present = [name for name in KEY if name in parquet.schema_arrow.names]
        for row_group in range(parquet.num_row_groups):
            table = _read(file, parquet, row_group, present)
            keys = pa.table(
                [
                    table[name].cast(field.type) if name in present else pa.nulls(len(table), field.type)
                    for name, field in zip(KEY, _KEY_SCHEMA, strict=True)
                ],
                schema=_KEY_SCHEMA,
            )
            _check_key(file, first_row, keys)
            for key, rows in _groups(keys):
                yield key, _Part(file, row_group, first_row, rows)
            first_row += len(table)


@contextmanager
def _opened(file: Path) -> Iterator[ParquetFile]:
    try:
        source = open_regular(file)
    except FileNotFoundError:
        raise WrongLogits(f"{file}: there is no such file; give the path of a Parquet file of logits") from None
    with source:
        try:
            parquet = ParquetFile(source, where=str(file), longest=_LONGEST_FOOTER, largest_group=_LARGEST_GROUP)
        except (FilterZooError, OSError, pa.ArrowException) as error:
            raise WrongLogits(f"{file}: is no Parquet file that can be read: {_one_line(error)}") from error
        if parquet.metadata.num_rows > _MOST_ROWS:
            raise WrongLogits(f"{file}: has {parquet.metadata.num_rows:,} rows; at most {_MOST_ROWS:,} are read")
        yield parquet


def _read(file: Path, parquet: ParquetFile, row_group: int, columns: list[str]) -> pa.Table:
    try:
        return parquet.read_row_group(row_group, columns=columns)
    except (FilterZooError, OSError, pa.ArrowException) as error:
        raise WrongLogits(f"{file}: row group {row_group} cannot be read: {_one_line(error)}") from error


def _shown(kind: pa.DataType) -> str:
    """A type as text. The names of its fields are untrusted, so they are escaped."""
    return ascii(str(kind))[1:-1][:200]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _check_columns(file: Path, schema: pa.Schema) -> None:
    missing = [name for name in REQUIRED if name not in schema.names]
    if missing:
        raise WrongLogits(f"{file}: the column {missing[0]!r} is missing; a table of logits has {', '.join(REQUIRED)}")
    for name, wanted in {**KEY, **_SAMPLE_TYPES}.items():
        if name not in schema.names:
            continue
        kind = schema.field(name).type
        value = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (_IS_OF_TYPE[wanted](value) or (name in _SETTINGS and pa.types.is_null(value))):
            raise WrongLogits(f"{file}: the column {name!r} is of type {_shown(kind)}; it must be {wanted}")
    kind = schema.field("logits").type
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (is_list and pa.types.is_floating(kind.value_type)):
        raise WrongLogits(f"{file}: the column 'logits' is of type {_shown(kind)}; it must be a list of float")


def _check_key(file: Path, first_row: int, keys: pa.Table) -> None:
    for name in ("model_id", "image_set", "attack"):
        column = keys[name]
        if column.null_count:
            raise _wrong(file, first_row + _first(pc.is_null(column)), f"{name} is null")
        empty = pc.equal(column, "")
        if pc.any(empty).as_py():
            raise _wrong(file, first_row + _first(empty), f"{name} is empty")
    for name, kind in KEY.items():
        if kind == pa.float64():
            wrong = pc.fill_null(pc.invert(pc.is_finite(keys[name])), fill_value=False)
            if pc.any(wrong).as_py():
                raise _wrong(file, first_row + _first(wrong), f"{name} is not a finite number")


def _first(mask: pa.ChunkedArray) -> int:
    return int(pc.index(mask, value=True).as_py())


def _wrong(file: Path, row: int, reason: str) -> WrongLogits:
    return WrongLogits(f"{file}: row {row} (0 = first): {reason}")


def _groups(keys: pa.Table) -> Iterator[tuple[tuple[Any, ...], np.ndarray]]:
    numbered = keys.append_column("row", pa.array(np.arange(len(keys))))
    for group in numbered.group_by(keys.column_names).aggregate([("row", "list")]).to_pylist():
        yield tuple(group[name] for name in KEY), np.sort(np.asarray(group["row_list"], dtype=np.int64))


def _evaluation(key: dict[str, Any], parts: Sequence[_Part]) -> Evaluation:
    ids: list[str] = []
    labels: list[np.ndarray] = []
    logits: list[np.ndarray] = []
    seen: set[str] = set()
    for part in parts:
        with _opened(part.file) as parquet:
            table = _read(part.file, parquet, part.row_group, ["sample_id", "label", "logits"]).take(part.rows)
        numbers = part.first_row + part.rows
        own = _sample_ids(part.file, numbers, table["sample_id"], seen)
        matrix = _matrix(part.file, numbers, table["logits"], logits[0].shape[1] if logits else None)
        labels.append(_labels(part.file, numbers, table["label"], matrix.shape[1]))
        logits.append(matrix)
        ids += own
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return Evaluation(
        key, [ids[place] for place in order], np.concatenate(labels)[order], np.concatenate(logits)[order]
    )


def _sample_ids(file: Path, rows: np.ndarray, column: pa.ChunkedArray, seen: set[str]) -> list[str]:
    ids: list[str | None] = column.cast(pa.string()).to_pylist()
    known: list[str] = []
    for row, sample in zip(rows, ids, strict=True):
        if sample is None:
            raise _wrong(file, int(row), "sample_id is null")
        if sample in seen:
            raise _wrong(file, int(row), f"the sample {sample[:80]!r} is there twice for one network and attack")
        seen.add(sample)
        known.append(sample)
    return known


def _matrix(file: Path, rows: np.ndarray, column: pa.ChunkedArray, classes: int | None) -> np.ndarray:
    lists = column.combine_chunks()
    if lists.null_count:
        raise _wrong(file, int(rows[_first(pc.is_null(lists))]), "logits is null")
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    wanted = int(lengths[0]) if classes is None else classes
    if (lengths != wanted).any():
        row = int((lengths != wanted).argmax())
        raise _wrong(file, int(rows[row]), f"has {lengths[row]} logits where the rows before it have {wanted}")
    if not 2 <= wanted <= _MOST_CLASSES:
        raise _wrong(file, int(rows[0]), f"has {wanted} logits; 2 to {_MOST_CLASSES:,} can be measured")
    values = lists.flatten()
    matrix: np.ndarray = values.to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, wanted)
    unfit = ~(np.abs(matrix) <= _LARGEST_LOGIT).all(axis=1)
    if unfit.any():
        raise _wrong(file, int(rows[unfit.argmax()]), "a logit is null, NaN, infinite or beyond float32")
    return matrix


def _labels(file: Path, rows: np.ndarray, column: pa.ChunkedArray, classes: int) -> np.ndarray:
    if column.null_count:
        raise _wrong(file, int(rows[_first(pc.is_null(column))]), "label is null")
    labels: np.ndarray = column.to_numpy().astype(np.int64)
    unfit = (labels < 0) | (labels >= classes)
    if unfit.any():
        row = int(unfit.argmax())
        raise _wrong(file, int(rows[row]), f"the label {labels[row]} is outside 0 to {classes - 1}")
    return labels
