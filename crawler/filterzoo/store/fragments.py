"""The store: the layers of checkpoints, in content-addressed files that are written atomically.

A checkpoint has a layers fragment (Arrow IPC: one row per layer, with its measures and its part of the sample) and, if
its weights may be published, a filters fragment: each unique layer of a wanted kernel size, in the published form of
`filters` (`store.filters`). Both are named by the sha256 of their bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa

from filterzoo.durable import sync
from filterzoo.errors import StorageFailed, raise_disk_trouble, remedy, system_says
from filterzoo.layers.layer import Layer, LayerMeasure
from filterzoo.outcome import Done
from filterzoo.store.encoding import EncodedFile
from filterzoo.store.filters import PUBLISHED_SCHEMA, Axes, FilterFile, RowGroups, open_filters, pieces_of
from filterzoo.store.former_filters import FormerFilters
from filterzoo.store.objects.base import local_folder
from filterzoo.store.objects.opening import open_objects
from filterzoo.store.sample import KERNEL, Sampled, SampleTaker

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
        ("kurtosis", pa.float64()),
        ("probe", pa.list_(pa.float32())),
    ]
)
"""Columns of a layers fragment; `filterzoo_publish.schema` says what each one means."""

LATER_COLUMNS = (
    "layout_evidence",
    "computed",
    "spectral_norm",
    "stable_rank",
    "effective_rank",
    "power_law_alpha",
    "frequency_energy",
    "kurtosis",
    "probe",
)
"""Columns that older fragments and releases lack; null there."""

_SAMPLE_COLUMNS = (
    pa.field("sampled_filters", pa.list_(pa.int64())),
    pa.field("sampled_weights", pa.list_(pa.float32())),
)
"""Further columns of a layers fragment: a layer's part of the largest draw (`store.sample`), in its first row."""


def with_later_columns(
    table: pa.Table, schema: pa.Schema = LAYER_SCHEMA, later: Iterable[str] = LATER_COLUMNS
) -> pa.Table:
    """The table with missing columns among `later` added as nulls, in the order of the schema."""
    for name in later:
        if name not in table.schema.names:
            place = min(schema.get_field_index(name), table.num_columns)
            table = table.add_column(place, name, pa.nulls(table.num_rows, schema.field(name).type))
    return table


_ABOUT = b"filterzoo"
"""Key of the schema's metadata with the checkpoint of a layers fragment."""


_NAME = re.compile("[0-9a-f]{64}")
LAYERS, FILTERS = ".arrow", ".parquet"
"""Endings of fragments' names."""


class FragmentOrigin(NamedTuple):
    """The checkpoint of a layers fragment. done: its document in the journal, without the fragment's own name."""

    done: str
    settings: str


class FragmentStore:
    """Fragments under an fsspec URL or a local folder; `scratch` is a local folder for files that are being written."""

    def __init__(self, url: str, scratch: Path) -> None:
        self._objects = open_objects(url)
        self._scratch = scratch
        self.root = local_folder(url)
        """The local folder; None if the store is remote."""

    def writer(self, kernels: frozenset[str], axes: Axes, filters: Mapping[str, int]) -> FragmentWriter:
        """A writer for one checkpoint that keeps the filters of layers with these kernel sizes.

        axes: of its rows of `filters`. filters: kernel size -> number of filters, tied layers counted for each
        occurrence; wrong numbers make the sample slower.
        """
        self._scratch.mkdir(parents=True, exist_ok=True)
        sample = SampleTaker(axes.model_id, filters.get(KERNEL, 0) if KERNEL in kernels else 0)
        return FragmentWriter(self, self._scratch, kernels, axes, sample)

    def layers(self, name: str) -> pa.Table:
        """The layers fragment of that name, LAYER_SCHEMA."""
        table = self._layers_file(name).replace_schema_metadata(None)
        sample = [column.name for column in _SAMPLE_COLUMNS if column.name in table.schema.names]
        return with_later_columns(table.drop_columns(sample))

    def sample(self, name: str) -> dict[str, Sampled] | None:
        """layer_id -> the largest draw of the checkpoint; None if the layers fragment is older than the sample."""
        table = self._layers_file(name)
        if not {one.name for one in _SAMPLE_COLUMNS} <= set(table.schema.names):
            return None
        table = table.filter(table["sampled_filters"].is_valid())
        ids, *cells = (table[one] for one in ("layer_id", "sampled_filters", "sampled_weights"))
        return {
            layer_id: (numbers.values.to_numpy(), weights.values.to_numpy().reshape(-1, 9))
            for layer_id, numbers, weights in zip(ids.to_pylist(), *cells, strict=True)
        }

    def filters(self, name: str, wanted: frozenset[str] | None = None) -> Iterator[pa.Table]:
        """The filters of each layer of that filters fragment, or of those wanted, FILTER_SCHEMA."""
        with self.open_filters(name) as file:
            yield from file.layers(wanted)

    @contextlib.contextmanager
    def open_filters(self, name: str) -> Iterator[FilterFile | FormerFilters]:
        """The filters fragment of that name; memory-mapped if it is local."""
        with self._objects.open(self._filters_path(name)) as source:
            if self.is_encoded(name):
                with FilterFile(source) as file:
                    yield file
            else:
                yield FormerFilters(source)

    def is_encoded(self, name: str) -> bool:
        """Whether the filters fragment of that name has the published form, as since version 3."""
        return self._filters_path(name).endswith(FILTERS)

    def link_or_copy(self, name: str, place: Path, *, as_link: bool = False) -> None:
        """Put the filters fragment of that name at `place`, a new local file: a hard link if possible, or a copy.

        as_link: a symbolic link suffices, because the file is read and removed at once.
        """
        self._objects.link_or_copy(self._filters_path(name), place, as_link=as_link)

    def about(self, name: str) -> FragmentOrigin | None:
        """The checkpoint of the layers fragment of that name; None for a filters fragment and for older ones.

        OSError or pa.ArrowException if it cannot be read.
        """
        with self._objects.open(path_of(name)) as source:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
        try:
            found = json.loads(metadata[_ABOUT])
            return FragmentOrigin(str(found["done"]), str(found["settings"]))
        except (KeyError, TypeError, ValueError):
            return None

    def exists(self, name: str) -> bool:
        """Whether the store holds that fragment."""
        return any(self._objects.exists(path_of(name, suffix)) for suffix in (LAYERS, FILTERS))

    def paths(self) -> list[str]:
        """Every file of the store, relative to its root."""
        return self._objects.paths()

    def sha256(self, name: str, *, of_filters: bool = False) -> str:
        """The sha256 of a fragment's bytes, as hex; OSError if it cannot be read."""
        with self._objects.stream(self._filters_path(name) if of_filters else path_of(name)) as source:
            return hashlib.file_digest(source, "sha256").hexdigest()

    def remove(self, path: str) -> None:
        """Remove a file that `paths` names."""
        self._objects.remove(path)

    def set_aside(self, path: str) -> None:
        """Move a file that `paths` names out of the store, to `<root>.aside`."""
        self._objects.set_aside(path)

    def age_of(self, name: str) -> float:
        """The time at which the fragment was written, in Unix time; 0 if unknown."""
        return self._objects.age_of(path_of(name))

    def keep(self, written: Path, name: str, suffix: str) -> None:
        """Move a finished local file into the store under its name."""
        self._objects.keep(written, path_of(name, suffix))

    def _layers_file(self, name: str) -> pa.Table:
        """The checked table; pa.ArrowInvalid if its offsets are out of bounds."""
        with self._objects.open(path_of(name)) as source:
            table = pa.ipc.open_file(source).read_all()
            table.validate(full=True)
            return table

    def _filters_path(self, name: str) -> str:
        """The path of a filters fragment; before version 3 these were Arrow files, like layers fragments."""
        encoded, former = path_of(name, FILTERS), path_of(name)
        return former if not self._objects.exists(encoded) and self._objects.exists(former) else encoded


def path_of(name: str, suffix: str = LAYERS) -> str:
    """The path of a fragment in its store; OSError for an invalid name."""
    if _NAME.fullmatch(name) is None:
        raise OSError(f"{ascii(name)[:80]} is not the name of a fragment")
    return f"{name[:2]}/{name}{suffix}"


class FragmentWriter:
    """Collects one checkpoint's layers. Nothing is stored before `finish`; without it, everything is removed."""

    def __init__(
        self, store: FragmentStore, scratch: Path, kernels: frozenset[str], axes: Axes, sample: SampleTaker
    ) -> None:
        self._store = store
        self._folder = scratch / secrets.token_hex(8)
        self._kernels = kernels
        self._axes = axes
        self._sample = sample
        self._rows: list[dict[str, Any]] = []
        self._stored: set[str] = set()
        self._file: EncodedFile | None = None
        self._groups: RowGroups | None = None

    def __enter__(self) -> Self:
        with _storing():
            self._folder.mkdir()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._file is not None:
            self._file.discard()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, layer: Layer, measure: LayerMeasure) -> None:
        """Append a layer; its filters are written now or with those of later layers, once for each `layer_id`."""
        self._rows.append(_layer_row(layer, measure))
        if layer.kernel not in self._kernels or layer.layer_id in self._stored or not layer.n_filters:
            return
        self._stored.add(layer.layer_id)
        self._sample.take(layer)
        with _storing():
            if self._groups is None:
                self._file = EncodedFile(self._folder / "filters", PUBLISHED_SCHEMA)
                self._groups = RowGroups(self._file)
            for piece in pieces_of(layer, self._axes):
                self._groups.add(piece)

    def finish(self, done: Done | None = None, settings: str = "") -> tuple[str, str | None]:
        """Move both fragments into the store; returns their names (None: no filters).

        done: the checkpoint's record, without these names, under `settings`; it is stored in the layers fragment, so
        that a lost journal can be rebuilt. StorageFailed if writing fails.
        """
        with _storing():
            return self._finish(done, settings)

    def _finish(self, done: Done | None, settings: str) -> tuple[str, str | None]:
        filters_name, sample = self._finish_filters()
        path = self._folder / "layers"
        schema = pa.schema([*LAYER_SCHEMA, *_SAMPLE_COLUMNS])
        if done is not None:
            whole = replace(done, layers_fragment="", filters_fragment=filters_name)
            about = {"done": json.dumps(asdict(whole), sort_keys=True), "settings": settings}
            schema = schema.with_metadata({_ABOUT: json.dumps(about, sort_keys=True)})
        table = pa.Table.from_pylist(_with_sample(self._rows, sample), schema=schema)
        with path.open("wb") as sink:
            with pa.ipc.new_file(sink, schema) as writer:
                writer.write_table(table)
            sync(sink)  # after closing the writer, which writes the footer
        layers_name = hashlib.sha256(path.read_bytes()).hexdigest()
        self._store.keep(path, layers_name, LAYERS)
        return layers_name, filters_name

    def _finish_filters(self) -> tuple[str | None, dict[str, Sampled]]:
        """The name of the filters fragment, now in the store, and the checkpoint's sample."""
        file, groups = self._file, self._groups
        if file is None or groups is None:
            return None, {}
        groups.end()
        name, _ = file.finish(durable=True)
        sample = self._sample.taken()
        if sample is None:
            with open_filters(file.path) as written:
                sample = self._sample.drawn(written.layers())
        self._store.keep(file.path, name, FILTERS)
        self._file = self._groups = None
        return name, sample


@contextlib.contextmanager
def _storing() -> Iterator[None]:
    """Converts errors of the disk to StorageFailed: the next checkpoint would fail as well."""
    try:
        yield
    except OSError as error:
        raise_disk_trouble(error, "the store")
        raise StorageFailed(
            f"the store cannot be written to: {system_says(error)}; {remedy(error)} and run the same command again"
        ) from error


def _with_sample(rows: list[dict[str, Any]], sample: dict[str, Sampled]) -> list[dict[str, Any]]:
    """The rows with the sample; each layer's part is in the layer's first row."""
    left = dict(sample)
    for row in rows:
        numbers, weights = left.pop(row["layer_id"], (None, None))
        row["sampled_filters"] = numbers
        row["sampled_weights"] = None if weights is None else weights.reshape(-1)
    return rows


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
