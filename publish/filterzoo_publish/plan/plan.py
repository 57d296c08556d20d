"""Plans a release: what the target lacks, and the owner of each layer. Writes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from filterzoo.errors import StartError
from filterzoo.measures.random_weights import suspected_random
from filterzoo.outcome import Done, LedgerEntry, entries_of_layers
from filterzoo.store.confidences import read_rows
from filterzoo.store.sample import Sampled
from filterzoo.store.shared_journal import fetch_journal
from filterzoo.store.workfolder import WorkFolder
from filterzoo_publish.plan.confidences import confidences_table
from filterzoo_publish.plan.origins import FilterFragment, PublishableCheckpoint, StoredLayer, WorkOrigin
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.plan.rows import FACTS_OF_MODELS, clean, folders, skipped_table, sort_key
from filterzoo_publish.plan.state import Pointer, PublishedState
from filterzoo_publish.takedown.takedowns import is_taken_down, skipped_row


@dataclass(frozen=True, slots=True)
class Work:
    """The publishable content of a work folder: checkpoints, and the ledger.

    listed: model_id -> the last day its zoo listed it. crawled: the sources of this ledger, which supersedes the
    published rows of these sources.
    """

    candidates: tuple[PublishableCheckpoint, ...]
    ledger: tuple[LedgerEntry, ...]
    listed: Mapping[str, str]
    crawled: frozenset[str]
    confidences: tuple[dict[str, Any], ...] = ()
    """Rows of `confidences`, of any models."""


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A new checkpoint.

    `published`: its layers whose filters the data set has after the release; `owned`: those it adds.
    """

    candidate: PublishableCheckpoint
    model_id: str
    weights_id: str | None
    duplicate_of: str | None
    published: tuple[StoredLayer, ...]
    owned: frozenset[str]

    @property
    def done(self) -> Done:
        """The outcome of its crawl."""
        return self.candidate.done

    def layers(self) -> pa.Table:
        """Its layers, LAYER_SCHEMA."""
        return self.candidate.origin.layers(self.done)

    def filters(self, wanted: frozenset[str]) -> Iterator[pa.Table]:
        """The filters of these of its unique layers, one table for each, FILTER_SCHEMA."""
        return self.candidate.origin.filters(self.done, wanted)

    def take_file(self, place: Path, *, as_link: bool) -> FilterFragment | None:
        """Put the file with exactly the filters that it adds at `place`; None where there is none."""
        if len(self.owned) != len(self.published):
            return None
        return self.candidate.origin.take_file(self.done, place, as_link=as_link)

    def sample(self) -> dict[str, Sampled] | None:
        """See `Origin.sample`."""
        return self.candidate.origin.sample(self.done)

    def facts_of_layers(self) -> dict[str, Any]:
        """See the function of this name."""
        return facts_of_layers(self.layers().select(FACTUAL).to_pylist())

    @property
    def stored(self) -> tuple[StoredLayer, ...]:
        """The layers whose filters this release stores under the checkpoint's name."""
        return tuple(layer for layer in self.published if layer.layer_id in self.owned)


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned release: `entries` in order, pointers to layers that are stored, and the new `skipped`.

    listed: see `Work`.
    """

    entries: tuple[PlanEntry, ...]
    pointers: dict[str, Pointer]
    skipped: pa.Table
    release: Release
    listed: Mapping[str, str]
    confidences: pa.Table
    changed: tuple[str, ...] = ()
    """Published models whose facts differ in the work folder; their rows stay, because published files do."""

    def groups(self) -> dict[tuple[str, str], list[PlanEntry]]:
        """(source, licence class) -> entries, in order: what goes into the same folders."""
        groups: dict[tuple[str, str], list[PlanEntry]] = {}
        for entry in self.entries:
            groups.setdefault(folders(entry.done), []).append(entry)
        return dict(sorted(groups.items()))


def split(entries: Iterable[PlanEntry], size: Callable[[PlanEntry], int], limit: int) -> Iterator[list[PlanEntry]]:
    """Runs of whole entries, at most `limit` in all or one entry. Entries of size 0 are left out."""
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
    """Read a work folder; StartError without a crawl or any result.

    store: take the journal from this shared store, unless the folder's own crawl was the last to write there.
    """
    folder = WorkFolder(workdir, store)
    if store is not None:
        fetch_journal(folder)
    with folder.existing_journal(read_only=True) as journal:
        done = sorted(journal.done_and_listed(), key=lambda one: sort_key(one[0].checkpoint))
        ledger = (*journal.ledger(), *(entry for one, _ in done for entry in entries_of_layers(one)))
    if not done and not ledger:
        raise StartError(f"{workdir}: the crawl has found nothing yet; run `filterzoo crawl` again")
    origin = WorkOrigin(folder.store())
    candidates = tuple(PublishableCheckpoint(one, origin, seen=day) for one, day in done)
    return Work(
        candidates,
        ledger,
        listed={candidate.model_id: candidate.seen for candidate in candidates if candidate.seen},
        crawled=frozenset({one.checkpoint.source for one, _ in done} | {entry.source for entry in ledger}),
        confidences=tuple(read_rows(folder.confidences)),
    )


def make_plan(work: Work, published: PublishedState, release: Release) -> Plan:
    """Compare what there is to publish with a data set.

    Unless it is stored already, a layer is owned by the first new checkpoint, in the order of models, whose licence
    allows publishing it.
    """
    new, blocked = _new(work, published)
    layers = [_published_layers(candidate) for candidate in new]
    pointers = published.pointers({layer.layer_id for own in layers for layer in own})
    first_of = _first_of_weights(published.models)
    keys = {candidate.key for candidate in new}
    taken = set(pointers)
    entries = []
    for candidate, own in zip(new, layers, strict=True):
        owned = frozenset(layer.layer_id for layer in own) - taken
        taken |= owned
        weights_id = weights_id_of(candidate.origin.layers(candidate.done)["layer_id"].to_pylist())
        name = candidate.model_id
        duplicate_of = first_of.setdefault(weights_id, name) if weights_id else name
        entries.append(
            PlanEntry(candidate, name, weights_id, None if duplicate_of == name else duplicate_of, own, owned)
        )
    former = [row for row in published.skipped.to_pylist() if (row["source"], row["id"], row["revision"]) not in keys]
    gone = {(row["source"], row["id"], row["revision"]) for row in blocked}
    ledger = [entry for entry in work.ledger if (entry.source, entry.id, entry.revision) not in gone]
    skipped = skipped_table(ledger, work.crawled, former, blocked)
    models = {*published.models["model_id"].to_pylist(), *(entry.model_id for entry in entries)}
    confidences = confidences_table(published, work.confidences, models)
    return Plan(tuple(entries), pointers, skipped, release, work.listed, confidences, _changed(work, published))


def _changed(work: Work, published: PublishedState) -> tuple[str, ...]:
    """Models in both whose facts differ."""
    names = [name for name in FACTS_OF_MODELS if name in published.models.column_names]
    columns = published.models.select(["model_id", *names]).to_pylist()
    rows = {row.pop("model_id"): row for row in columns}
    ours = (one for one in work.candidates if isinstance(one.origin, WorkOrigin) and one.model_id in rows)
    return tuple(
        one.model_id
        for one in ours
        if rows[one.model_id] != {name: clean(getattr(one.done.checkpoint, name)) for name in names}
    )


def _new(work: Work, published: PublishedState) -> tuple[list[PublishableCheckpoint], list[dict[str, Any]]]:
    """The candidates that the data set lacks and may contain; and rows of `skipped` for those taken down."""
    present = set(published.models["model_id"].to_pylist())
    new: list[PublishableCheckpoint] = []
    blocked: list[dict[str, Any]] = []
    for candidate in work.candidates:
        if candidate.model_id in present:
            continue
        named: dict[str, Any] = dict(zip(("source", "id", "revision"), candidate.key, strict=True))
        named |= {"licence": candidate.done.licence, "licence_class": candidate.done.licence_class}
        if is_taken_down(named, published.takedowns):
            blocked.append(skipped_row(named))
        else:
            new.append(candidate)
    return new, blocked


def _published_layers(candidate: PublishableCheckpoint) -> tuple[StoredLayer, ...]:
    folders(candidate.done)
    return candidate.origin.stored(candidate.done)


def _first_of_weights(models: pa.Table) -> dict[str, str]:
    """weights_id -> the first published checkpoint with it."""
    rows = models.select(["source", "id", "revision", "weights_id", "duplicate_of", "model_id"]).to_pylist()
    rows.sort(key=lambda row: (row["source"], row["id"], row["revision"]))
    first: dict[str, str] = {}
    for row in rows:
        if row["weights_id"] is not None and row["duplicate_of"] is None:
            first.setdefault(row["weights_id"], row["model_id"])
    return first


class _Measured(NamedTuple):
    """The columns of a row of `layers` that `suspected_random` needs."""

    n_finite: int
    variance_entropy: float | None
    variance_entropy_threshold: float | None


FACTUAL = ["kernel", *_Measured._fields]


def facts_of_layers(layers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Columns of `models` that are computed from FACTUAL, columns of the model's rows of `layers`."""
    measured = (_Measured(*(row[name] for name in _Measured._fields)) for row in layers)
    axes_of_kernels = (row["kernel"].count("x") + 1 for row in layers)
    return {"spatial_dims": max(axes_of_kernels, default=None), "suspected_random": suspected_random(measured)}


def weights_id_of(layer_ids: Iterable[str]) -> str | None:
    """sha256 over the sorted layer ids, None where there are none."""
    joined = "\n".join(sorted(layer_ids))
    return hashlib.sha256(joined.encode()).hexdigest() if joined else None
