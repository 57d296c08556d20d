"""A published data set as an origin: its rows are copied without reading checkpoints.

Its content is untrusted input: only files of the data set are opened, and the hash of a layer's weights must be its id.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.parquet import ParquetFile
from filterzoo.dataset.untrusted import reading
from filterzoo.errors import StartError
from filterzoo.layers.normalise import layer_hasher
from filterzoo.outcome import Done
from filterzoo.records import Artifact, Checkpoint
from filterzoo.store.filters import FILTER_SCHEMA
from filterzoo.store.fragments import LAYER_SCHEMA, with_later_columns
from filterzoo_publish.plan.origins import PublishableCheckpoint, StoredLayer
from filterzoo_publish.plan.rows import model_id, rows_of
from filterzoo_publish.plan.state import POINTER_COLUMNS, Pointer, PublishedState
from filterzoo_publish.plan.status import former_status
from filterzoo_publish.schema import COLUMNS
from filterzoo_publish.shards.cards import facts_of, read_cards
from filterzoo_publish.verify.statistics import incomplete_statistics

_CHECKPOINT = frozenset(field.name for field in fields(Checkpoint)) - {"artifacts", "licence"}
_DONE = frozenset(field.name for field in fields(Done))
_SMALLEST_RANK = 3
_RowGroup = tuple[str, int]


class DatasetOrigin:
    """See `plan.origins.Origin`. Caches the last row group of `layers` and of `filters`."""

    def __init__(self, published: PublishedState) -> None:
        self._published = published
        self._filters_files = frozenset(published.paths("filters"))
        self._places = {name: place for place, names in self._models_of_layers() for name in names}
        self._starts: dict[str, list[int]] = {}
        self._kept: dict[str, tuple[_RowGroup, pa.Table]] = {}

    def layers(self, done: Done) -> pa.Table:
        """See `Origin.layers`."""
        with reading(self._where):
            return with_later_columns(self._rows(done)).select(LAYER_SCHEMA.names).cast(LAYER_SCHEMA)

    def stored(self, done: Done) -> tuple[StoredLayer, ...]:
        """See `Origin.stored`."""
        with reading(self._where):
            return self._stored_layers(done)

    def _stored_layers(self, done: Done) -> tuple[StoredLayer, ...]:
        return tuple(
            StoredLayer(row["layer_id"], row["kernel"], row["n_filters"], row["n_filters"] * prod(row["shape"][2:]))
            for row in self._stored(done)
        )

    def take_file(self, done: Done, place: Path, *, as_link: bool) -> None:
        """See `Origin.take_file`. Always None: files of other data sets are untrusted, so filters are encoded again."""

    def sample(self, done: Done) -> None:
        """See `Origin.sample`."""

    def filters(self, done: Done, wanted: frozenset[str]) -> Iterator[pa.Table]:
        """See `Origin.filters`; StartError if the hash of a layer's weights is not its id."""
        with reading(self._where):
            yield from self._batches(done, wanted)

    def _batches(self, done: Done, wanted: frozenset[str]) -> Iterator[pa.Table]:
        for row in self._stored(done):
            if row["layer_id"] not in wanted:
                continue
            rows = self._filters(Pointer(*(row[name] for name in POINTER_COLUMNS)))
            hasher = layer_hasher(tuple(row["shape"]))
            for weights in rows["weights"].chunks:
                hasher.update(weights.flatten().to_numpy().data.cast("B"))
            if set(rows["layer_id"].to_pylist()) != {row["layer_id"]} or hasher.hexdigest() != row["layer_id"]:
                raise StartError(
                    f"{self._where}: layer {row['layer_id']} has other weights than its id says; verify it"
                )
            yield rows.select(FILTER_SCHEMA.names).cast(FILTER_SCHEMA)

    @property
    def _where(self) -> str:
        return self._published.files.root if self._published.files else ""

    def _stored(self, done: Done) -> list[dict[str, Any]]:
        """Rows of its unique layers with published filters, in order, with their pointers."""
        columns = ["layer_index", "layer_id", "kernel", "shape", "n_filters", *POINTER_COLUMNS]
        rows = self._rows(done).select(columns).filter(pc.field("filters_file").is_valid()).sort_by("layer_index")
        unique: dict[str, dict[str, Any]] = {}
        for row in rows.to_pylist():
            unique.setdefault(row["layer_id"], row)
        return list(unique.values())

    def _rows(self, done: Done) -> pa.Table:
        name = model_id(done.checkpoint)
        place = self._places.get(name)
        table = self._row_group("layers", place) if place else self._published.read("layers").slice(0, 0)
        rows = table.filter(pc.field("model_id") == name)
        if len(rows) != done.n_layers:
            detail = f"has {len(rows)} rows in layers, models says {done.n_layers}"
            raise StartError(f"{self._where}: {ascii(name)[:160]} {detail}; run filterzoo verify there")
        _check(rows)
        return rows

    def _filters(self, pointer: Pointer) -> pa.Table:
        if pointer.file not in self._filters_files:
            raise StartError(
                f"{self._where}: layers points to {ascii(pointer.file)[:160]}, which is not there; verify it"
            )
        starts = self._starts_of(pointer.file)
        end = pointer.first_row + pointer.rows
        pieces = [
            self._row_group("filters", (pointer.file, number)).slice(
                max(0, pointer.first_row - start), end - max(start, pointer.first_row)
            )
            for number, (start, stop) in enumerate(pairwise(starts))
            if start < end and pointer.first_row < stop
        ]
        return pa.concat_tables(pieces)

    def _starts_of(self, path: str) -> list[int]:
        """The first row of each row group, then the number of rows of the file."""
        if path not in self._starts:
            with self._opened(path) as parquet:
                sizes = [parquet.metadata.row_group(n).num_rows for n in range(parquet.num_row_groups)]
            self._starts[path] = list(accumulate(sizes, initial=0))
        return self._starts[path]

    def _row_group(self, config: str, place: _RowGroup) -> pa.Table:
        kept = self._kept.get(config)
        if kept is None or kept[0] != place:
            with self._opened(place[0]) as parquet:
                kept = self._kept[config] = place, parquet.read_row_group(place[1])
        return kept[1]

    def _models_of_layers(self) -> Iterator[tuple[_RowGroup, list[str]]]:
        for path in self._published.paths("layers"):
            with self._opened(path) as parquet:
                for number in range(parquet.num_row_groups):
                    names = parquet.read_row_group(number, columns=["model_id"])["model_id"]
                    yield (path, number), pc.unique(names).to_pylist()

    @contextmanager
    def _opened(self, path: str) -> Iterator[ParquetFile]:
        files = self._published.files
        if files is None:
            raise FileNotFoundError(path)
        with files.open(path) as file, ParquetFile(file, where=f"{files.root}: {path}") as parquet:
            yield parquet


def _check(rows: pa.Table) -> None:
    """ValueError for nulls in mandatory columns, incomplete statistics, and counts that contradict shapes."""
    present = [column for column in COLUMNS["layers"] if column.name in rows.schema.names]
    empty = [column.name for column in present if column.null == "never" and rows[column.name].null_count]
    if empty:
        raise ValueError(f"layers without {empty[0]}")
    for lack in incomplete_statistics(rows):
        raise ValueError(lack)
    for shape, count in zip(rows["shape"].to_pylist(), rows["n_filters"].to_pylist(), strict=True):
        if len(shape) < _SMALLEST_RANK or min(shape) < 0 or count != shape[0] * shape[1]:
            raise ValueError(f"{count} filters in a layer of shape {shape}")


def dataset_candidates(published: PublishedState, origin: DatasetOrigin) -> Iterator[PublishableCheckpoint]:
    """The models of a data set, in no particular order."""
    status = former_status(published)
    for path in published.paths("models"):
        cards = {card["model_id"]: card for _, card in read_cards(published.files, path)} if published.files else {}
        for row in rows_of(published.read_file(path)):
            known = status.get(row["model_id"], {})
            seen = known.get("last_seen") or row["last_seen"]
            done = _done(row, cards.get(row["model_id"]))
            yield PublishableCheckpoint(done, origin, row["first_seen"], seen, known.get("superseded_by"))


def _done(row: dict[str, Any], card: dict[str, Any] | None) -> Done:
    """The outcome of the crawl, rebuilt from a row of `models` and the model's card."""
    file = Artifact(
        url=row["url"] or "", name=row["file"], size=row["size"], sha256=row["sha256"], member=row["member"]
    )
    files: tuple[Artifact, ...] = (file,)
    filters = {"3x3": row["filters_3x3"], "other": row["n_filters"] - row["filters_3x3"]}
    if card:
        files, filters = facts_of(card)
        if (sum(filters.values()), filters.get("3x3", 0)) != (row["n_filters"], row["filters_3x3"]):
            raise StartError(f"the card of {ascii(row['model_id'])[:160]} counts other filters than models does")
    checkpoint = {name: row[name] for name in _CHECKPOINT & row.keys()}
    facts = {name: row[name] for name in _DONE & row.keys()}
    return Done(
        checkpoint=Checkpoint(artifacts=files, **checkpoint),
        filters_by_kernel=filters,
        layers_fragment="",
        filters_fragment=None,
        publish_weights=row["published_filters"] > 0,
        **facts,
    )
