"""Plans a release: what the target lacks, and which model owns each layer. Writes nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, compress
from pathlib import Path
from typing import Any

import pyarrow as pa

from filterzoo.errors import StartError
from filterzoo.outcome import LedgerEntry, entries_of_layers
from filterzoo.store.confidences import read_rows
from filterzoo.store.shared_journal import fetch_journal
from filterzoo.store.workfolder import WorkFolder
from filterzoo_publish.plan.candidates import spooled, spooled_ledger
from filterzoo_publish.plan.confidences import confidences_table
from filterzoo_publish.plan.entries import PlanEntry, Planned, PlannedSpool
from filterzoo_publish.plan.facts import weights_id_of
from filterzoo_publish.plan.origins import PublishableCheckpoint, WorkOrigin
from filterzoo_publish.plan.places import LayerPlaces, Places
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.plan.rows import FACTS_OF_MODELS, SortKey, clean, folders, rows_of, skipped_table
from filterzoo_publish.plan.state import PublishedState
from filterzoo_publish.takedown.takedowns import is_taken_down, skipped_row


@dataclass(frozen=True, slots=True)
class Work:
    """The publishable content of a work folder: checkpoints, sorted as models are, and the ledger.

    listed: model_id -> the last day its zoo listed it. crawled: the sources of this ledger, which supersedes the
    published rows of these sources.
    """

    candidates: Collection[PublishableCheckpoint]
    ledger: Collection[LedgerEntry]
    listed: Mapping[str, str]
    crawled: frozenset[str]
    confidences: tuple[dict[str, Any], ...] = ()
    """Rows of `confidences`, of any models."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned release: the sorted `entries`, pointers to layers that are already stored, and the new `skipped`.

    listed: see `Work`.
    """

    entries: tuple[PlanEntry, ...]
    pointers: Places
    skipped: pa.Table
    release: Release
    listed: Mapping[str, str]
    confidences: pa.Table
    changed: tuple[str, ...] = ()
    """Published models whose facts differ in the work folder. Published files are immutable, so their rows stay."""

    def groups(self) -> dict[tuple[str, str], list[PlanEntry]]:
        """(source, licence class) -> its entries, in order. A group shares its folders."""
        groups: dict[tuple[str, str], list[PlanEntry]] = {}
        for entry in self.entries:
            groups.setdefault(folders(entry.done), []).append(entry)
        return dict(sorted(groups.items()))


def split(entries: Iterable[PlanEntry], size: Callable[[PlanEntry], int], limit: int) -> Iterator[list[PlanEntry]]:
    """Groups of consecutive entries of a total size up to `limit`, or one larger entry. Skips entries of size 0."""
    run: list[PlanEntry] = []
    filled = 0
    for entry in entries:
        own = size(entry)
        if run and own and filled + own > limit:
            yield run
            run, filled = [], 0
        if own:
            run.append(entry)
            filled += own
    if run:
        yield run


def open_work(workdir: Path, store: str | None = None) -> Work:
    """Read a work folder; StartError if it has no crawl or no result.

    store: fetch the journal from this shared store, unless the folder's own crawl wrote there last.
    """
    folder = WorkFolder(workdir, store)
    if store is not None:
        fetch_journal(folder)
    origin = WorkOrigin(folder.store())
    crawled: set[str] = set()
    with folder.existing_journal(read_only=True) as journal:
        journal.check_sums()
        candidates = spooled(PublishableCheckpoint(done, origin, seen=day) for done, day in journal.done_and_listed())
        of_layers = (entry for candidate in candidates for entry in entries_of_layers(candidate.done))
        ledger = spooled_ledger(chain(journal.ledger(), of_layers))
    if not candidates and not ledger:
        raise StartError(f"{workdir}: the crawl has found nothing yet; run `filterzoo crawl` again")
    listed: dict[str, str] = {}
    for candidate in candidates:
        crawled.add(candidate.done.checkpoint.source)
        if candidate.seen:
            listed[candidate.model_id] = sys.intern(candidate.seen)
    crawled.update(entry.source for entry in ledger)
    return Work(candidates, ledger, listed, frozenset(crawled), tuple(read_rows(folder.confidences)))


def make_plan(work: Work, published: PublishedState, release: Release) -> Plan:
    """Compare the publishable content with a data set.

    A layer that is not stored yet is owned by the first new checkpoint, in the order of models, whose licence allows
    publishing it. Memory: 64 bytes and some strings for each checkpoint; records and layers are in temporary files.
    """
    blocked: list[dict[str, Any]] = []
    places = LayerPlaces()
    models = set(published.models["model_id"].to_pylist())
    records = PlannedSpool(_planned(_new(work, published, models, blocked), places, published))
    if places.place_known(published.pointers(places.few)):
        records = PlannedSpool(
            replace(record, owned=frozenset(name for name in record.owned if name not in places)) for record in records
        )
    keys = _keys(published.skipped)
    new: set[SortKey] = set()
    for record in records:
        models.add(record.candidate.model_id)
        if record.candidate.key in keys:
            new.add(record.candidate.key)
    former = (row for row in rows_of(published.skipped) if (row["source"], row["id"], row["revision"]) not in new)
    gone = {(row["source"], row["id"], row["revision"]) for row in blocked}
    ledger = (entry for entry in work.ledger if (entry.source, entry.id, entry.revision) not in gone)
    skipped = skipped_table(ledger, work.crawled, former, blocked)
    confidences = confidences_table(published, work.confidences, models)
    return Plan(records.entries(), places, skipped, release, work.listed, confidences, _changed(work, published))


def _planned(
    candidates: Iterable[PublishableCheckpoint], places: LayerPlaces, published: PublishedState
) -> Iterator[Planned]:
    """Each candidate, owning the layers that no earlier candidate has, whether they are published already or not."""
    first_of = _first_of_weights(published.models)
    for candidate in candidates:
        folders(candidate.done)
        own = candidate.origin.stored(candidate.done)
        names = [layer.layer_id for layer in own]
        owned = frozenset(compress(names, places.add_new(names)))
        weights_id = weights_id_of(candidate.origin.layers(candidate.done)["layer_id"].to_pylist())
        name = candidate.model_id
        duplicate_of = first_of.setdefault(weights_id, name) if weights_id else name
        yield Planned(candidate, weights_id, None if duplicate_of == name else duplicate_of, own, owned)


def _keys(skipped: pa.Table) -> frozenset[tuple[str | None, ...]]:
    return frozenset(zip(*(skipped[name].to_pylist() for name in ("source", "id", "revision")), strict=True))


def _changed(work: Work, published: PublishedState) -> tuple[str, ...]:
    """The models that both have, with different facts."""
    names = [name for name in FACTS_OF_MODELS if name in published.models.column_names]
    columns = rows_of(published.models.select(["model_id", *names]))
    rows = {row.pop("model_id"): row for row in columns}
    if not rows:
        return ()
    crawled = (found for found in work.candidates if isinstance(found.origin, WorkOrigin) and found.model_id in rows)
    return tuple(
        candidate.model_id
        for candidate in crawled
        if rows[candidate.model_id] != {name: clean(getattr(candidate.done.checkpoint, name)) for name in names}
    )


def _new(
    work: Work, published: PublishedState, present: Collection[str], blocked: list[dict[str, Any]]
) -> Iterator[PublishableCheckpoint]:
    """The candidates that the data set lacks and that were not taken down.

    Appends to `blocked` a row of `skipped` for each that was.
    """
    for candidate in work.candidates:
        if candidate.model_id in present:
            continue
        named: dict[str, Any] = dict(zip(("source", "id", "revision"), candidate.key, strict=True))
        named |= {"licence": candidate.done.licence, "licence_class": candidate.done.licence_class}
        if is_taken_down(named, published.takedowns):
            blocked.append(skipped_row(named))
        else:
            yield candidate


def _first_of_weights(models: pa.Table) -> dict[str, str]:
    """weights_id -> the model_id of the first published checkpoint with it."""
    rows = models.select(["source", "id", "revision", "weights_id", "duplicate_of", "model_id"]).to_pylist()
    rows.sort(key=lambda row: (row["source"], row["id"], row["revision"]))
    first: dict[str, str] = {}
    for row in rows:
        if row["weights_id"] is not None and row["duplicate_of"] is None:
            first.setdefault(row["weights_id"], row["model_id"])
    return first
