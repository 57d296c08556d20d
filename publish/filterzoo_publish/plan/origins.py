"""Origins of rows of new checkpoints: a work folder, or another published data set."""

from __future__ import annotations

import contextlib
import errno
import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa

from filterzoo.errors import FilterZooError
from filterzoo.layers.shapes import kernel_name
from filterzoo.outcome import Done
from filterzoo.store.filters import FilterPosition, axes_of_done, have_axes, open_filters
from filterzoo.store.fragment_checks import Unsound, check_bytes, check_filters, check_layer, layer_rows
from filterzoo.store.fragments import FragmentStore
from filterzoo.store.sample import Sampled
from filterzoo_publish.plan.rows import SortKey, model_id, sort_key

_CACHED_FRAGMENTS = 64
"""Fragments whose shapes are cached: more than several threads read at a time."""


_KEPT_BYTES = 64 << 20
"""Most bytes of tables of layers that are kept while a release is made."""


class _KeptTables:
    """Tables of layers by the name of their fragment, up to `_KEPT_BYTES`: a release reads each of them ten times."""

    def __init__(self) -> None:
        self._tables: dict[str, pa.Table] = {}
        self._bytes = 0

    def get(self, name: str) -> pa.Table | None:
        return self._tables.get(name)

    def keep(self, name: str, table: pa.Table) -> None:
        """Keep it if there is room. The first ones stay: all are read in turns, and the last ones would never help."""
        if self._bytes + table.nbytes <= _KEPT_BYTES:
            self._tables[name] = table
            self._bytes += table.nbytes


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer whose filters an origin has. filters: their number. numbers: the number of their weights."""

    layer_id: str
    kernel: str
    filters: int
    numbers: int


class Origin(Protocol):
    """Provides a checkpoint's rows. `done` must come from the same origin."""

    def layers(self, done: Done) -> pa.Table:
        """Its layers, in `filterzoo.store.fragments.LAYER_SCHEMA`."""
        ...

    def stored(self, done: Done) -> tuple[StoredLayer, ...]:
        """Its unique layers that have filters to publish, in the order of the checkpoint."""
        ...

    def filters(self, done: Done, wanted: frozenset[str]) -> Iterator[pa.Table]:
        """The filters of its unique layers whose ids are in `wanted`.

        A table for each layer, in `filterzoo.store.filters.FILTER_SCHEMA`.
        """
        ...

    def take_file(self, done: Done, place: Path, *, as_link: bool) -> FilterFragment | None:
        """Copy or link the file with all its filters, in published form, to `place`; None if there is no such file."""
        ...

    def sample(self, done: Done) -> dict[str, Sampled] | None:
        """layer_id -> the checkpoint's largest sample; None if it has to be drawn from the filters."""
        ...


@dataclass(frozen=True, slots=True)
class PublishableCheckpoint:
    """A checkpoint that may be published. Days are `YYYY-MM-DD`.

    first_seen: when another data set first had it. seen: when its zoo last listed it. superseded_by: its value in
    another data set.
    """

    done: Done
    origin: Origin
    first_seen: str | None = None
    seen: str | None = None
    superseded_by: str | None = None

    @property
    def key(self) -> SortKey:
        """The key that sorts models."""
        return sort_key(self.done.checkpoint)

    @property
    def model_id(self) -> str:
        """`source/id@revision`."""
        return model_id(self.done.checkpoint)


class FilterFragment(NamedTuple):
    """A file with all filters of a checkpoint: the hash of its bytes, and the position of each layer."""

    sha256: str
    places: dict[str, FilterPosition]


@dataclass(frozen=True, slots=True)
class WorkOrigin:
    """The fragments of a work folder. Each is checked before any of its content is published.

    FilterZooError if a fragment is missing, damaged, or does not match the hash in its name.
    """

    store: FragmentStore
    _checked_names: set[bytes] = field(default_factory=set)
    """Names of the layers fragments whose hash was verified."""
    _shapes: OrderedDict[str, dict[str, tuple[int, ...]]] = field(default_factory=OrderedDict)
    """Name of a fragment -> layer_id -> shape, for the fragments used last."""

    _kept: _KeptTables = field(default_factory=_KeptTables)

    def layers(self, done: Done) -> pa.Table:
        """See `Origin.layers`."""
        name = done.layers_fragment
        table = self._kept.get(name)
        if table is None:
            self._check(done)
            with _fragment_errors(done):
                table = self.store.layers(name)
            self._kept.keep(name, table)
        return table if done.publish_weights else _without_weights(table)

    def stored(self, done: Done) -> tuple[StoredLayer, ...]:
        """See `Origin.stored`. Reads names and sizes from memory-mapped batches, but not their weights."""
        if done.filters_fragment is None or not done.publish_weights:
            return ()
        with _fragment_errors(done):
            rows = layer_rows(self.store, done.layers_fragment)
            check_filters(self.store, done.filters_fragment, rows, weights=False)
            with self.store.open_filters(done.filters_fragment) as file:
                names = list(dict.fromkeys(file.facts(["layer_id"])["layer_id"].to_pylist()))
        shapes = {row["layer_id"]: tuple(row["shape"]) for row in rows}
        return tuple(
            StoredLayer(name, kernel_name(shapes[name][2:]), prod(shapes[name][:2]), prod(shapes[name]))
            for name in names
        )

    def filters(self, done: Done, wanted: frozenset[str]) -> Iterator[pa.Table]:
        """See `Origin.filters`."""
        if done.filters_fragment is None or not wanted:
            return
        shapes = self._shapes_of(done)
        with _fragment_errors(done):
            for rows in self.store.filters(done.filters_fragment, wanted):
                check_layer(rows, shapes)
                yield rows

    def take_file(self, done: Done, place: Path, *, as_link: bool) -> FilterFragment | None:
        """See `Origin.take_file`. None also if the checkpoint's metadata have changed since the crawl."""
        name = done.filters_fragment
        if name is None or not self.store.is_encoded(name):
            return None
        with _fragment_errors(done):
            self.store.link_or_copy(name, place, as_link=as_link)
            with place.open("rb") as file:
                check_bytes(name, hashlib.file_digest(file, "sha256").hexdigest())
            with open_filters(place) as found:
                if have_axes(found, axes_of_done(done)):
                    return FilterFragment(name, found.places())
        place.unlink()
        return None

    def sample(self, done: Done) -> dict[str, Sampled] | None:
        """See `Origin.sample`."""
        self._check(done)
        with _fragment_errors(done):
            return self.store.sample(done.layers_fragment)

    def _check(self, done: Done) -> None:
        """Verify the hash of the layers fragment, once."""
        if bytes.fromhex(done.layers_fragment) not in self._checked_names:
            self._shapes_of(done)

    def _shapes_of(self, done: Done) -> dict[str, tuple[int, ...]]:
        """layer_id -> shape, after the check of the fragment."""
        name = done.layers_fragment
        shapes = self._shapes.get(name)
        if shapes is None:
            with _fragment_errors(done):
                rows = layer_rows(self.store, name)
                if len(rows) != done.n_layers:
                    raise Unsound(f"it has {len(rows)} layers, the journal says {done.n_layers}")
            shapes = {row["layer_id"]: tuple(row["shape"]) for row in rows}
            self._checked_names.add(bytes.fromhex(name))
            self._shapes[name] = shapes
            while len(self._shapes) > _CACHED_FRAGMENTS:
                with contextlib.suppress(KeyError):  # another thread may have emptied it
                    self._shapes.popitem(last=False)
        return shapes


@contextlib.contextmanager
def _fragment_errors(done: Done) -> Iterator[None]:
    """Converts errors of a fragment to a FilterZooError of one line; errors of the consumer propagate."""
    try:
        yield
    except (Unsound, OSError, ValueError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno not in {None, errno.ENOENT}:
            raise  # an error of the disk, not one of pyarrow about the file
        name = ascii(model_id(done.checkpoint))[:160]
        raise FilterZooError(
            f"{name}: its fragment is damaged or lost ({error}); nothing was published; "
            "run `filterzoo doctor --repair`, then crawl again"
        ) from error


def _without_weights(layers: pa.Table) -> pa.Table:
    """The layers with `probe`, a sample of their weights, set to null: the licence forbids redistribution."""
    column = layers.schema.field("probe")
    return layers.set_column(layers.schema.get_field_index("probe"), column, pa.nulls(len(layers), column.type))
