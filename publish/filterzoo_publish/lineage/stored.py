"""What lineage needs of each layer, in an unnamed temporary file: millions of layers, some hundred bytes a network."""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.measures.descent import PROBES
from filterzoo.temporary import write_all
from filterzoo_publish.lineage.nearest import FEWEST_LAYERS, Doubles, Family

_LARGEST_FAMILY = 2000
"""Most networks of equal shapes that are compared pairwise: the first ones by name."""
_ROW = np.dtype(
    [
        ("identity", "<i8"),
        ("probe", "<f4", PROBES),
        ("known", "?"),
        ("kurtosis", "<f8"),
        ("mean", "<f8", 9),
        ("noise", "<f8"),
    ]
)
Shape = tuple[int, ...]


class _Part(NamedTuple):
    """Consecutive rows of one network. places: their `layer_index`; codes: numbers of their shapes; both int32."""

    start: int
    places: bytes
    codes: bytes


class StoredLayers:
    """Layers of networks, in any order. StorageFailed where the temporary folder is full."""

    def __init__(self) -> None:
        with tempfile.TemporaryFile(prefix="filterzoo-") as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        self._rows = 0
        self._parts: dict[str, tuple[_Part, ...]] = {}
        self._codes: dict[Shape, int] = {}
        self._shared: dict[bytes, bytes] = {}
        """Most networks have the places and shapes of others."""

    def add(self, table: pa.Table) -> None:
        """Add `table.LAYER_COLUMNS` of some layers."""
        if not len(table):
            return
        table = table.sort_by([("model_id", "ascending"), ("layer_index", "ascending")]).combine_chunks()
        names = table["model_id"].to_pylist()
        places = table["layer_index"].to_numpy().astype(np.int32)
        shapes = [tuple(shape) for shape in table["shape"].to_pylist()]
        codes = np.array([self._codes.setdefault(shape, len(self._codes)) for shape in shapes], np.int32)
        write_all(self._file, _records(table).tobytes())
        starts = [place for place, name in enumerate(names) if place == 0 or name != names[place - 1]]
        for start, end in zip(starts, [*starts[1:], len(names)], strict=True):
            own = (self._interned(array[start:end].tobytes()) for array in (places, codes))
            name = names[start]
            self._parts[name] = (*self._parts.get(name, ()), _Part(self._rows + start, *own))
        self._rows += len(names)

    def families(self) -> list[StoredFamily]:
        """Groups networks of at least FEWEST_LAYERS layers by the shapes of their layers, in order."""
        groups: defaultdict[bytes, list[str]] = defaultdict(list)
        for name in sorted(self._parts):
            codes = self._in_order(name)[1]
            if len(codes) >= FEWEST_LAYERS:
                groups[codes.tobytes()].append(name)
        shapes = list(self._codes)
        return [
            StoredFamily(
                self, members[:_LARGEST_FAMILY], tuple(shapes[code] for code in np.frombuffer(codes, np.int32))
            )
            for codes, members in groups.items()
        ]

    def rows(self, name: str) -> npt.NDArray[Any]:
        """The records of a network, by place."""
        order, _codes = self._in_order(name)
        parts = [
            os.pread(self._file, len(part.codes) // 4 * _ROW.itemsize, part.start * _ROW.itemsize)
            for part in self._parts[name]
        ]
        return np.frombuffer(b"".join(parts), _ROW)[order]

    def _in_order(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """The order of a network's rows, and the codes in that order."""
        parts = self._parts[name]
        places = np.frombuffer(b"".join(part.places for part in parts), np.int32)
        codes = np.frombuffer(b"".join(part.codes for part in parts), np.int32)
        order = np.argsort(places, kind="stable")
        return order, codes[order]

    def _interned(self, data: bytes) -> bytes:
        return self._shared.setdefault(data, data)


@dataclass(frozen=True, slots=True, eq=False)
class StoredFamily:
    """Networks of equal layers, on the disk; see `Family`."""

    _layers: StoredLayers
    names: list[str]
    shapes: tuple[Shape, ...]

    def load(self) -> Family:
        """Read them."""
        rows = np.stack([self._layers.rows(name) for name in self.names])
        sizes = np.array([min(PROBES, int(np.prod(shape))) for shape in self.shapes])
        held = (np.arange(PROBES) < sizes[:, None]) & rows["known"][..., None]
        probes = np.where(held, rows["probe"].astype(np.float64), 0.0)
        probes -= np.where(held, probes.sum(axis=2, keepdims=True) / np.maximum(1, sizes)[:, None], 0.0)
        return Family(
            names=self.names,
            identity=rows["identity"],
            probes=probes,
            known=rows["known"],
            sizes=sizes,
            kurtosis=rows["kurtosis"],
            mean=rows["mean"],
            noise=rows["noise"],
            shapes=self.shapes,
        )


def _records(table: pa.Table) -> npt.NDArray[Any]:
    """The rows of a table as `_ROW`."""
    records = np.zeros(len(table), _ROW)
    digests = (hashlib.blake2b(one.encode("utf-8"), digest_size=8).digest() for one in table["layer_id"].to_pylist())
    records["identity"] = np.frombuffer(b"".join(digests), "<i8")
    records["probe"], records["known"] = _lists(table["probe"], PROBES)
    means, has_mean = _lists(table["raw_mean"], 9)
    means[~has_mean] = np.nan
    filters = table["n_finite"].to_numpy().astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        scatter = np.square(table["l2_norm"].to_numpy()) - filters * np.square(means).sum(axis=1)
        records["noise"] = np.where(scatter > 0, scatter, np.nan) / filters**2
    records["kurtosis"], records["mean"] = table["kurtosis"].to_numpy(), means
    return records


def _lists(column: pa.ChunkedArray, width: int) -> tuple[Doubles, npt.NDArray[np.bool_]]:
    """(n, width) numbers, zeros behind the last of a list, and (n,) whether the row is a list of no nulls."""
    found = np.zeros((len(column), width))
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy().astype(np.int64)
    known = (lengths >= 0) & (lengths <= width)
    values = pc.list_flatten(column)
    rows = np.repeat(np.arange(len(column)), np.maximum(lengths, 0))
    known[rows[pc.is_null(values).to_numpy(zero_copy_only=False).astype(bool)]] = False
    ends = np.cumsum(np.maximum(lengths, 0))
    places = np.arange(len(rows)) - (ends - np.maximum(lengths, 0))[rows]
    kept = known[rows]
    found[rows[kept], places[kept]] = values.to_numpy()[kept].astype(np.float64)
    return found, known
