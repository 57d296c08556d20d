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
from filterzoo.layers.layer import kernel_name
from filterzoo.outcome import Done
from filterzoo.store.filters import FilterPosition, axes_of_done, have_axes, open_filters
from filterzoo.store.fragment_checks import Unsound, check_bytes, check_filters, check_layer, layer_rows
from filterzoo.store.fragments import FragmentStore
from filterzoo.store.sample import Sampled
from filterzoo_publish.plan.rows import SortKey, model_id, sort_key

_KEPT = 64
"""Fragments of which shapes are kept: those that several threads read at the time."""


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer whose filters an origin has: `filters` filters of `numbers` weights in all."""

    layer_id: str
    kernel: str
    filters: int
    numbers: int


class Origin(Protocol):
    """Provides a checkpoint's rows. `done` comes from the same origin."""

    def layers(self, done: Done) -> pa.Table:
        """Its layers, `filterzoo.store.fragments.LAYER_SCHEMA`."""
        ...

    def stored(self, done: Done) -> tuple[StoredLayer, ...]:
        """Its unique layers that have filters to publish, in the order of the checkpoint."""
        ...

    def filters(self, done: Done, wanted: frozenset[str]) -> Iterator[pa.Table]:
        """The filters of these of its unique layers, one table for each, `filterzoo.store.filters.FILTER_SCHEMA`."""
        ...

    def take_file(self, done: Done, place: Path, *, as_link: bool) -> FilterFragment | None:
        """Put the file with all its filters, in published form, at `place`; None where there is none."""
        ...

    def sample(self, done: Done) -> dict[str, Sampled] | None:
        """layer_id -> the checkpoint's largest draw; None where it must be drawn from the filters."""
        ...


@dataclass(frozen=True, slots=True)
class PublishableCheckpoint:
    """A checkpoint that may be published. Days are `YYYY-MM-DD`.

    first_seen: when another data set first had it. seen: when its zoo last listed it. superseded_by: from another data
    set.
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
    """The fragments of a work folder, each checked before anything of it is published.

    FilterZooError where one is missing, damaged, or does not match the hash in its name.
    """

    store: FragmentStore
    _checked_names: set[bytes] = field(default_factory=set)
    """Of the layers fragments whose bytes were hashed."""
    _shapes: OrderedDict[str, dict[str, tuple[int, ...]]] = field(default_factory=OrderedDict)
    """layer_id -> shape, of the fragments that were looked at last."""

    def layers(self, done: Done) -> pa.Table:
        """See `Origin.layers`."""
        self._checked(done)
        with _told(done):
            table = self.store.layers(done.layers_fragment)
        return table if done.publish_weights else _without_weights(table)

    def stored(self, done: Done) -> tuple[StoredLayer, ...]:
        """See `Origin.stored`. Looks at names and sizes of memory-mapped batches, not at their weights."""
        if done.filters_fragment is None or not done.publish_weights:
            return ()
        with _told(done):
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
        with _told(done):
            for rows in self.store.filters(done.filters_fragment, wanted):
                check_layer(rows, shapes)
                yield rows

    def take_file(self, done: Done, place: Path, *, as_link: bool) -> FilterFragment | None:
        """See `Origin.take_file`. None also where the checkpoint's metadata have changed since the crawl."""
        name = done.filters_fragment
        if name is None or not self.store.is_encoded(name):
            return None
        with _told(done):
            self.store.bring(name, place, as_link=as_link)
            with place.open("rb") as file:
                check_bytes(name, hashlib.file_digest(file, "sha256").hexdigest())
            with open_filters(place) as found:
                if have_axes(found, axes_of_done(done)):
                    return FilterFragment(name, found.places())
        place.unlink()
        return None

    def sample(self, done: Done) -> dict[str, Sampled] | None:
        """See `Origin.sample`."""
        self._checked(done)
        with _told(done):
            return self.store.sample(done.layers_fragment)

    def _checked(self, done: Done) -> None:
        """The fragment's bytes are hashed the first time."""
        if bytes.fromhex(done.layers_fragment) not in self._checked_names:
            self._shapes_of(done)

    def _shapes_of(self, done: Done) -> dict[str, tuple[int, ...]]:
        """layer_id -> shape, of a fragment that was checked."""
        name = done.layers_fragment
        shapes = self._shapes.get(name)
        if shapes is None:
            with _told(done):
                rows = layer_rows(self.store, name)
                if len(rows) != done.n_layers:
                    raise Unsound(f"it has {len(rows)} layers, the journal says {done.n_layers}")
            shapes = {row["layer_id"]: tuple(row["shape"]) for row in rows}
            self._checked_names.add(bytes.fromhex(name))
            self._shapes[name] = shapes
            while len(self._shapes) > _KEPT:
                with contextlib.suppress(KeyError):  # several threads
                    self._shapes.popitem(last=False)
        return shapes


@contextlib.contextmanager
def _told(done: Done) -> Iterator[None]:
    """Converts errors of a fragment to one line; errors of the consumer propagate."""
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
    """Measures only, where the licence forbids redistribution of the weights."""
    column = layers.schema.field("probe")
    return layers.set_column(layers.schema.get_field_index("probe"), column, pa.nulls(len(layers), column.type))
