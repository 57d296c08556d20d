"""The plan of a release: what the work folder has that the target lacks, and who owns which layer. Writes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from filterzoo.errors import StartError
from filterzoo.fragments import FragmentStore
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.workfolder import WorkFolder
from filterzoo_publish.rows import SortKey, folders, model_id, skipped_table, sort_key
from filterzoo_publish.state import Pointer, Published


@dataclass(frozen=True, slots=True)
class Work:
    """A work folder: its finished checkpoints, its ledger and its fragments."""

    done: tuple[Done, ...]
    ledger: tuple[LedgerEntry, ...]
    store: FragmentStore


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer in a filters fragment: `filters` filters of `numbers` weights in all."""

    layer_id: str
    kernel: str
    filters: int
    numbers: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A new checkpoint. `published`: its layers whose filters are in the data set; `owned`: those it brings there."""

    done: Done
    model_id: str
    weights_id: str | None
    duplicate_of: str | None
    published: tuple[StoredLayer, ...]
    owned: frozenset[str]

    @property
    def key(self) -> SortKey:
        """Place in the order of models."""
        return sort_key(self.done.checkpoint)

    @property
    def stored(self) -> tuple[StoredLayer, ...]:
        """The layers whose filters this release stores under the checkpoint's name."""
        return tuple(layer for layer in self.published if layer.layer_id in self.owned)


@dataclass(frozen=True, slots=True)
class Plan:
    """A release to be made: `entries` in order, where layers are stored already, and `skipped` as it is to be."""

    entries: tuple[Entry, ...]
    pointers: dict[str, Pointer]
    skipped: pa.Table

    def groups(self) -> dict[tuple[str, str], list[Entry]]:
        """(source, licence class) -> entries, in order: what goes into the same folders."""
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in self.entries:
            groups.setdefault(folders(entry.done), []).append(entry)
        return dict(sorted(groups.items()))


def split(entries: Iterable[Entry], size: Callable[[Entry], int], limit: int, alone: int = 0) -> Iterator[list[Entry]]:
    """Runs of whole entries, at most `limit` in all or one entry; those of `alone` and more by themselves.

    Entries of size 0 are left out.
    """
    run: list[Entry] = []
    filled = last = 0
    for entry in entries:
        own = size(entry)
        if run and own and (filled + own > limit or (alone and max(own, last) >= alone)):
            yield run
            run, filled = [], 0
        if own:
            run.append(entry)
            filled, last = filled + own, own
    if run:
        yield run


def open_work(workdir: Path) -> Work:
    """Read a work folder; StartError where no crawl was, or none found anything."""
    folder = WorkFolder(workdir)
    with folder.existing_journal() as journal:
        done = sorted(journal.done(), key=lambda one: sort_key(one.checkpoint))
        ledger = tuple(journal.ledger())
    if not done and not ledger:
        raise StartError(f"{workdir}: the crawl has found nothing yet; run `filterzoo crawl` again")
    return Work(tuple(done), ledger, folder.store())


def make_plan(work: Work, published: Published) -> Plan:
    """Compare a work folder with a data set.

    A layer belongs to the first new checkpoint, in the order of models, that may show it, unless it is stored already.
    """
    present = set(published.models["model_id"].to_pylist())
    new = [done for done in work.done if model_id(done.checkpoint) not in present]
    layers = [_published_layers(done, work.store) for done in new]
    pointers = published.pointers({layer.layer_id for own in layers for layer in own})
    first_of = _first_of_weights(published.models)
    taken = set(pointers)
    entries = []
    for done, own in zip(new, layers, strict=True):
        owned = frozenset(layer.layer_id for layer in own) - taken
        taken |= owned
        weights_id = weights_id_of(work.store.layers(done.layers_fragment)["layer_id"].to_pylist())
        name = model_id(done.checkpoint)
        duplicate_of = first_of.setdefault(weights_id, name) if weights_id else name
        entries.append(Entry(done, name, weights_id, None if duplicate_of == name else duplicate_of, own, owned))
    crawled = {one.checkpoint.source for one in work.done} | {entry.source for entry in work.ledger}
    return Plan(tuple(entries), pointers, skipped_table(work.ledger, frozenset(crawled), published.skipped))


def _published_layers(done: Done, store: FragmentStore) -> tuple[StoredLayer, ...]:
    """The unique layers of its filters fragment: looks at their names and sizes, not at their weights."""
    folders(done)
    if done.filters_fragment is None or not done.publish_weights:
        return ()
    return tuple(
        StoredLayer(
            layer_id=batch["layer_id"][0].as_py(),
            kernel=batch["kernel"][0].as_py(),
            filters=sum(batch["n_filters"].to_pylist()),
            numbers=_numbers(batch),
        )
        for batch in store.filters(done.filters_fragment)
    )


def _numbers(batch: pa.RecordBatch) -> int:
    offsets = batch["weights"].offsets
    return int(offsets[-1].as_py() - offsets[0].as_py())


def _first_of_weights(models: pa.Table) -> dict[str, str]:
    """weights_id -> the first checkpoint with it, of those that are published."""
    rows = models.select(["source", "id", "revision", "weights_id", "duplicate_of", "model_id"]).to_pylist()
    rows.sort(key=lambda row: (row["source"], row["id"], row["revision"]))
    first: dict[str, str] = {}
    for row in rows:
        if row["weights_id"] is not None and row["duplicate_of"] is None:
            first.setdefault(row["weights_id"], row["model_id"])
    return first


def weights_id_of(layer_ids: Iterable[str]) -> str | None:
    """sha256 over the sorted layer ids, None where there are none."""
    joined = "\n".join(sorted(layer_ids))
    return hashlib.sha256(joined.encode()).hexdigest() if joined else None
