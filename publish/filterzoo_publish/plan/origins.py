"""Where the rows of new checkpoints come from: a work folder, or a data set that somebody published."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from filterzoo.errors import FilterZooError
from filterzoo.outcome import Done
from filterzoo.store.fragment_checks import Unsound, check_batch, check_filters, layer_rows
from filterzoo.store.fragments import FragmentStore
from filterzoo_publish.plan.rows import SortKey, model_id, sort_key


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer whose filters an origin has: `filters` filters of `numbers` weights in all."""

    layer_id: str
    kernel: str
    filters: int
    numbers: int


class Origin(Protocol):
    """Gives a checkpoint's rows. `done` is one of the origin's own."""

    def layers(self, done: Done) -> pa.Table:
        """Its layers, `filterzoo.store.fragments.LAYER_SCHEMA`."""
        ...

    def stored(self, done: Done) -> tuple[StoredLayer, ...]:
        """Its unique layers that have filters to publish, in the order of the checkpoint."""
        ...

    def filters(self, done: Done, wanted: Collection[str]) -> Iterator[pa.RecordBatch]:
        """The filters of those of its unique layers, one batch a layer, `filterzoo.store.fragments.FILTER_SCHEMA`."""
        ...


@dataclass(frozen=True, slots=True)
class PublishableCheckpoint:
    """A checkpoint that may be published. Days are `YYYY-MM-DD`.

    first_seen: when another data set first had it. seen: when its zoo last listed it. superseded_by: as another data
    set says.
    """

    done: Done
    origin: Origin
    first_seen: str | None = None
    seen: str | None = None
    superseded_by: str | None = None

    @property
    def key(self) -> SortKey:
        """Place in the order of models."""
        return sort_key(self.done.checkpoint)

    @property
    def model_id(self) -> str:
        """`source/id@revision`."""
        return model_id(self.done.checkpoint)


@dataclass(frozen=True, slots=True)
class WorkOrigin:
    """The fragments of a work folder, each checked before anything of it is published.

    FilterZooError where one is missing, damaged, or not what it is named after.
    """

    store: FragmentStore
    _shapes: dict[str, dict[str, tuple[int, ...]]] = field(default_factory=dict)
    """Of the layers fragments that were checked: layer_id -> shape."""

    def layers(self, done: Done) -> pa.Table:
        """See `Origin.layers`."""
        self._checked(done)
        with _told(done):
            return self.store.layers(done.layers_fragment)

    def stored(self, done: Done) -> tuple[StoredLayer, ...]:
        """See `Origin.stored`. Looks at names and sizes of memory-mapped batches, not at their weights."""
        if done.filters_fragment is None or not done.publish_weights:
            return ()
        with _told(done):
            rows = layer_rows(self.store, done.layers_fragment)
            check_filters(self.store, done.filters_fragment, rows, weights=False)
        return tuple(
            StoredLayer(
                layer_id=batch["layer_id"][0].as_py(),
                kernel=batch["kernel"][0].as_py(),
                filters=sum(batch["n_filters"].to_pylist()),
                numbers=_numbers(batch),
            )
            for batch in self.store.filters(done.filters_fragment)
        )

    def filters(self, done: Done, wanted: Collection[str]) -> Iterator[pa.RecordBatch]:
        """See `Origin.filters`."""
        if done.filters_fragment is None or not wanted:
            return
        shapes = self._checked(done)
        with _told(done):
            for batch in self.store.filters(done.filters_fragment):
                if batch["layer_id"][0].as_py() in wanted:
                    check_batch(batch, shapes)
                    yield batch

    def _checked(self, done: Done) -> dict[str, tuple[int, ...]]:
        """layer_id -> shape; the fragment's bytes are hashed the first time."""
        name = done.layers_fragment
        if name not in self._shapes:
            with _told(done):
                rows = layer_rows(self.store, name)
                if len(rows) != done.n_layers:
                    raise Unsound(f"it has {len(rows)} layers, the journal says {done.n_layers}")
            self._shapes[name] = {row["layer_id"]: tuple(row["shape"]) for row in rows}
        return self._shapes[name]


@contextlib.contextmanager
def _told(done: Done) -> Iterator[None]:
    """What is wrong with a fragment as one line; consumers' own errors pass."""
    try:
        yield
    except (Unsound, FileNotFoundError, pa.ArrowException) as error:
        name = ascii(model_id(done.checkpoint))[:160]
        raise FilterZooError(
            f"{name}: its fragment is damaged or lost ({error}); nothing was published; "
            "run `filterzoo doctor --repair`, then crawl again"
        ) from error


def _numbers(batch: pa.RecordBatch) -> int:
    offsets = batch["weights"].offsets
    return int(offsets[-1].as_py() - offsets[0].as_py())
