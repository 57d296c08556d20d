"""Checks the measures of `layers`: complete and possible in every row, and computed again for a sample of layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.records import Kind
from filterzoo_publish.verify.problems import Examination

WIDTHS = {"raw_mean": 9, "raw_m2": 45, "scaled_mean": 9, "scaled_m2": 45, "dct_histogram": 630}
"""Lengths of the lists of statistics of a 3x3 layer."""
_NUMBERS = ("l1_norm", "l2_norm", "variance_entropy", "variance_entropy_threshold", "orthogonality")
_COUNTS = ("n_finite", "nan_count", "inf_count", "sparse_count")
MEASURED = ("groups", "kind", *_COUNTS, *_NUMBERS, *WIDTHS)
"""Columns that are compared with recomputed measures."""
_TOLERANCE = 1e-6
"""Relative tolerance: devices sum in different orders."""
_ONE_IN = 16
"""The sample has one in this many layers, chosen by their ids."""
_LARGEST = 1 << 22
"""Largest layer in the sample, in elements."""


@dataclass(slots=True)
class Measures:
    """The layers whose measures are computed again. rows: layer_id -> its first row of `layers`. full: no sampling."""

    full: bool = False
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)

    def note(self, table: pa.Table) -> None:
        """Choose layers among rows of `layers` with published filters."""
        ids, shapes, files = (table[name].to_pylist() for name in ("layer_id", "shape", "filters_file"))
        for place, (layer_id, shape, file) in enumerate(zip(ids, shapes, files, strict=True)):
            if file is not None and layer_id not in self.rows and self._is_wanted(layer_id, shape):
                (self.rows[layer_id],) = table.slice(place, 1).select(["shape", *MEASURED]).to_pylist()

    def _is_wanted(self, layer_id: str, shape: list[int]) -> bool:
        return self.full or (int(layer_id[:8], 16) % _ONE_IN == 0 and int(np.prod(shape)) <= _LARGEST)


def incomplete_statistics(table: pa.Table) -> Iterator[str]:
    """Messages about incomplete rows of `layers`: a 3x3 layer must have all statistics, of finite numbers."""
    rows = table.filter(pc.equal(table["kernel"], "3x3"))
    for name, width in WIDTHS.items():
        whole = pc.fill_null(pc.equal(pc.list_value_length(rows[name]), width), fill_value=False)
        numbers = pc.list_flatten(rows[name])
        if not _all(whole) or numbers.null_count or not _all(pc.is_finite(numbers)):
            yield f"{name} of a 3x3 layer is not {width} finite numbers"


def check_statistics(examination: Examination, path: str, table: pa.Table) -> None:
    """Report rows of `layers` with incomplete statistics or impossible counts."""
    for lack in incomplete_statistics(table):
        examination.report("statistics", path, lack)
    for name in ("n_finite", "sparse_count", "nan_count", "inf_count"):
        if not _all(pc.and_(pc.greater_equal(table[name], 0), pc.less_equal(table[name], _most(table, name)))):
            examination.report("statistics", path, f"{name} of a layer is not a number of its filters")


def _most(table: pa.Table, name: str) -> pa.ChunkedArray:
    """The largest possible value of the count."""
    if name in {"nan_count", "inf_count"}:
        return pc.multiply(table["n_filters"], 1 << 20)
    return table["n_finite" if name == "sparse_count" else "n_filters"]


def _all(mask: Any) -> bool:
    return pc.all(mask, skip_nulls=False, min_count=0).as_py() is True


def difference(row: Mapping[str, Any], weights: npt.NDArray[np.float32]) -> str | None:
    """The first measure of a row of `layers` that its filters contradict; None if all agree."""
    from filterzoo.measures.measure import measure_weights  # noqa: PLC0415  # loads torch

    found = measure_weights(weights.reshape(row["shape"]), row["groups"], Kind(row["kind"]))
    for name in _COUNTS:
        slack = row["n_finite"] // 10_000 + 1 if name == "sparse_count" else 0
        if abs(row[name] - getattr(found, name)) > slack:
            return f"{name} is {row[name]}, its filters have {getattr(found, name)}"
    for name in _NUMBERS:
        said, own = row[name], getattr(found, name)
        if name == "orthogonality" and (said is None or own is None):
            continue  # not measured of every layer
        if (said is None) != (own is None) or (own is not None and not _close(said, own)):
            return f"{name} is {said}, its filters have {own}"
    for name in WIDTHS:
        said, own = row[name], getattr(found, name)
        if (said is None) != (own is None):
            return f"{name} is {'missing' if said is None else 'there'}"
        if own is not None and not _fits(name, np.asarray(said, np.float64), np.asarray(own, np.float64)):
            return f"{name} is not that of its filters"
    return None


def _fits(name: str, said: npt.NDArray[np.float64], own: npt.NDArray[np.float64]) -> bool:
    if said.shape != own.shape:
        return False
    if name == "dct_histogram":  # a coefficient on the edge of a bin may fall to either side
        return bool(np.abs(said - own).sum() <= 4 + own.sum() / 10_000)
    return _close(said, own)


def _close(said: Any, own: Any) -> bool:
    scale = float(np.max(np.abs(own), initial=0.0))
    return bool(np.allclose(said, own, rtol=_TOLERANCE, atol=_TOLERANCE * scale))
