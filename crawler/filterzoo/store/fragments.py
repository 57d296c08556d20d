"""The store: what became of a checkpoint's layers, in content-addressed files that appear whole or not at all.

A checkpoint leaves a layers fragment (one row a layer, with its measures) and, where weights may be published, a
filters fragment (blocks of at most `BLOCK` filters of each unique layer of a wanted kernel size). Both are Arrow IPC
files: written once without encoding, memory-mapped when shards are made.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import fsspec
import numpy as np
import pyarrow as pa

from filterzoo.durable import sync, sync_folder
from filterzoo.layers.layer import Layer, LayerMeasure
from filterzoo.outcome import Done

BLOCK = 32_768
"""Most filters of one row of the filters table."""

LAYER_SCHEMA = pa.schema(
    [
        ("layer_index", pa.int32()),
        ("name", pa.string()),
        ("kind", pa.string()),
        ("kernel", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("dtype", pa.string()),
        ("groups", pa.int64()),
        ("stride", pa.list_(pa.int64())),
        ("dilation", pa.list_(pa.int64())),
        ("padding", pa.list_(pa.int64())),
        ("conv_depth", pa.int32()),
        ("conv_depth_norm", pa.float64()),
        ("context", pa.string()),
        ("layout_evidence", pa.string()),
        ("computed", pa.string()),
        ("layer_id", pa.string()),
        ("n_filters", pa.int64()),
        ("n_finite", pa.int64()),
        ("nan_count", pa.int64()),
        ("inf_count", pa.int64()),
        ("l1_norm", pa.float64()),
        ("l2_norm", pa.float64()),
        ("sparse_count", pa.int64()),
        ("sparsity", pa.float64()),
        ("orthogonality", pa.float64()),
        ("variance_entropy", pa.float64()),
        ("variance_entropy_threshold", pa.float64()),
        ("raw_mean", pa.list_(pa.float64())),
        ("raw_m2", pa.list_(pa.float64())),
        ("scaled_mean", pa.list_(pa.float64())),
        ("scaled_m2", pa.list_(pa.float64())),
        ("dct_histogram", pa.list_(pa.uint32())),
        ("spectral_norm", pa.float64()),
        ("stable_rank", pa.float64()),
        ("effective_rank", pa.float64()),
        ("power_law_alpha", pa.float64()),
        ("frequency_energy", pa.list_(pa.float64())),
    ]
)
"""Columns of a layers fragment; `filterzoo_publish.schema` says what each one means."""

_LATER_COLUMNS = (
    "layout_evidence",
    "computed",
    "spectral_norm",
    "stable_rank",
    "effective_rank",
    "power_law_alpha",
    "frequency_energy",
)
"""Columns that fragments and releases before them lack; null there."""

FILTER_SCHEMA = pa.schema(
    [
        ("layer_id", pa.string()),
        ("kernel", pa.string()),
        ("first_filter", pa.int64()),
        ("n_filters", pa.int32()),
        ("weights", pa.list_(pa.float32())),
    ]
)
"""Columns of a filters fragment: `weights` holds n_filters * k numbers, filter after filter, each row-major."""


def with_every_column(table: pa.Table) -> pa.Table:
    """Rows of `layers` with the columns that came after they were written, null."""
    for name in _LATER_COLUMNS:
        if name not in table.schema.names:
            place = min(LAYER_SCHEMA.get_field_index(name), table.num_columns)
            table = table.add_column(place, name, pa.nulls(table.num_rows, LAYER_SCHEMA.field(name).type))
    return table


_ABOUT = b"filterzoo"
"""Key of the schema's metadata under which a layers fragment says what it is of."""


class FragmentOrigin(NamedTuple):
    """What a layers fragment is of. done: the journal's document of it, without the fragment's own name."""

    done: str
    settings: str


class FragmentStore:
    """Fragments under an fsspec URL or a local folder; `scratch` is a local folder for files that are being written."""

    def __init__(self, url: str, scratch: Path) -> None:
        self._filesystem, self._root = fsspec.core.url_to_fs(url)
        self._is_local = "file" in np.atleast_1d(self._filesystem.protocol)
        self._scratch = scratch

    def writer(self, kernels: frozenset[str]) -> FragmentWriter:
        """A writer for one checkpoint that keeps the filters of layers with these kernel sizes."""
        self._filesystem.makedirs(self._root, exist_ok=True)
        self._scratch.mkdir(parents=True, exist_ok=True)
        return FragmentWriter(self, self._scratch, kernels)

    def layers(self, name: str) -> pa.Table:
        """The layers fragment of that name, LAYER_SCHEMA."""
        with self._open(name) as source:
            return with_every_column(pa.ipc.open_file(source).read_all().replace_schema_metadata(None))

    def filters(self, name: str) -> Iterator[pa.RecordBatch]:
        """The filters fragment of that name, one batch a layer, FILTER_SCHEMA; memory-mapped where it is local."""
        with self._open(name) as source:
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)

    def about(self, name: str) -> FragmentOrigin | None:
        """What the layers fragment of that name says it is of; None for a filters fragment and for older ones.

        OSError or pa.ArrowException where it cannot be read.
        """
        with self._open(name) as source:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
        try:
            found = json.loads(metadata[_ABOUT])
            return FragmentOrigin(str(found["done"]), str(found["settings"]))
        except (KeyError, TypeError, ValueError):
            return None

    def exists(self, name: str) -> bool:
        """Whether the store holds that fragment."""
        return bool(self._filesystem.exists(self._path(name)))

    def paths(self) -> list[str]:
        """Every file of the store, whatever it is, relative to its root."""
        self._filesystem.invalidate_cache()
        return sorted(path[len(self._root) :].lstrip("/") for path in self._filesystem.find(self._root))

    def sha256(self, name: str) -> str:
        """Of a fragment's bytes, as hex; OSError where it cannot be read."""
        with self._filesystem.open(self._path(name), "rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    def remove(self, path: str) -> None:
        """Remove a file that `paths` names."""
        self._filesystem.rm_file(f"{self._root}/{path}")

    def set_aside(self, path: str) -> None:
        """Move a file that `paths` names out of the store, to `<root>.aside`."""
        place = f"{self._root.rstrip('/')}.aside/{path}"
        self._filesystem.makedirs(place.rpartition("/")[0], exist_ok=True)
        self._filesystem.mv(f"{self._root}/{path}", place)

    def age_of(self, name: str) -> float:
        """When the fragment was written, in seconds of the epoch; 0 where the file system does not say."""
        try:
            return float(self._filesystem.modified(self._path(name)).timestamp())
        except (NotImplementedError, OSError, KeyError):
            return 0.0

    def keep(self, written: Path, name: str) -> None:
        """Take a finished local file into the store under its name: synced, then renamed (or uploaded whole)."""
        path = self._path(name)
        self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        if self._is_local:
            _move(written, Path(path))
            sync_folder(Path(path).parent)
            sync_folder(Path(path).parent.parent)
        else:
            self._filesystem.put_file(str(written), path)
            written.unlink()

    def _open(self, name: str) -> Any:
        path = self._path(name)
        return pa.memory_map(path) if self._is_local else pa.PythonFile(self._filesystem.open(path, "rb"), mode="r")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name[:2]}/{name}.arrow"


class FragmentWriter:
    """Collects one checkpoint's layers. Nothing reaches the store before `finish`; leaving without it removes all."""

    def __init__(self, store: FragmentStore, scratch: Path, kernels: frozenset[str]) -> None:
        self._store = store
        self._folder = scratch / secrets.token_hex(8)
        self._kernels = kernels
        self._rows: list[dict[str, Any]] = []
        self._stored: dict[str, None] = {}
        self._filters: pa.RecordBatchFileWriter | None = None
        self._sink: IO[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir()
        return self

    def __exit__(self, *_exception: object) -> None:
        with contextlib.suppress(OSError, pa.ArrowException):  # what is removed need not be whole
            if self._filters is not None:
                self._filters.close()
        with contextlib.suppress(OSError):
            if self._sink is not None:
                self._sink.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, layer: Layer, measure: LayerMeasure) -> None:
        """Append a layer; its filters are written now, once for each `layer_id`, and no reference to them is kept."""
        self._rows.append(_layer_row(layer, measure))
        if layer.kernel not in self._kernels or layer.layer_id in self._stored:
            return
        self._stored[layer.layer_id] = None
        writer = self._filters
        if writer is None:
            self._sink = (self._folder / "filters").open("wb")
            writer = self._filters = pa.ipc.new_file(self._sink, FILTER_SCHEMA)
        writer.write_batch(_filter_blocks(layer))

    def finish(self, done: Done | None = None, settings: str = "") -> tuple[str, str | None]:
        """Move both fragments into the store; gives their names (None: no filters).

        done: what the checkpoint will be recorded as, but for these names, under `settings`. The layers fragment keeps
        it, so that a lost journal can be made anew.
        """
        filters_name = None
        if self._close_filters():
            filters_name = name_of_filters(self._stored)
            self._store.keep(self._folder / "filters", filters_name)
        path = self._folder / "layers"
        schema = LAYER_SCHEMA
        if done is not None:
            whole = replace(done, layers_fragment="", filters_fragment=filters_name)
            about = {"done": json.dumps(asdict(whole), sort_keys=True), "settings": settings}
            schema = schema.with_metadata({_ABOUT: json.dumps(about, sort_keys=True)})
        table = pa.Table.from_pylist(self._rows, schema=schema)
        with path.open("wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_table(table)
            writer.close()
            sync(sink)
        layers_name = hashlib.sha256(path.read_bytes()).hexdigest()
        self._store.keep(path, layers_name)
        return layers_name, filters_name

    def _close_filters(self) -> bool:
        if self._filters is None or self._sink is None:
            return False
        self._filters.close()
        sync(self._sink)
        self._sink.close()
        self._filters = self._sink = None
        return True


def name_of_filters(layer_ids: Iterable[str]) -> str:
    """The name of a filters fragment: that of its layers, in order, which are named after what they hold."""
    return hashlib.sha256("\n".join(["filters", *layer_ids]).encode()).hexdigest()


def _layer_row(layer: Layer, measure: LayerMeasure) -> dict[str, Any]:
    row: dict[str, Any] = {
        "layer_index": layer.index,
        "name": layer.name,
        "kind": str(layer.kind),
        "kernel": layer.kernel,
        "shape": layer.weights.shape,
        "dtype": layer.dtype,
        "groups": layer.groups,
        "stride": layer.stride,
        "dilation": layer.dilation,
        "padding": layer.padding,
        "conv_depth": layer.conv_depth,
        "conv_depth_norm": layer.conv_depth_norm,
        "context": str(layer.context),
        "layout_evidence": str(layer.evidence),
        "computed": None if layer.computed is None else str(layer.computed),
        "layer_id": layer.layer_id,
        "n_filters": layer.n_filters,
    }
    return row | {field.name: getattr(measure, field.name) for field in fields(measure)}


def _filter_blocks(layer: Layer) -> pa.RecordBatch:
    """The layer's filters as rows of FILTER_SCHEMA, without copying a weight."""
    numbers = layer.weights.size // layer.n_filters if layer.n_filters else 0
    firsts = range(0, layer.n_filters, BLOCK)
    counts = [min(BLOCK, layer.n_filters - first) for first in firsts]
    offsets = np.cumsum([0, *counts], dtype=np.int64) * numbers
    weights = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(layer.weights.reshape(-1)))
    columns: Iterable[Any] = (
        pa.array([layer.layer_id] * len(counts), pa.string()),
        pa.array([layer.kernel] * len(counts), pa.string()),
        pa.array(list(firsts), pa.int64()),
        pa.array(counts, pa.int32()),
        weights,
    )
    return pa.RecordBatch.from_arrays(list(columns), schema=FILTER_SCHEMA)


def _move(written: Path, path: Path) -> None:
    """Rename, also to another file system: there the copy gets the name when it is whole and synced."""
    try:
        written.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = path.with_name(f"{written.parent.name}.part")
        with written.open("rb") as source, copy.open("wb") as sink:
            shutil.copyfileobj(source, sink)
            sync(sink)
        copy.replace(path)
