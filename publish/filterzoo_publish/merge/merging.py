"""Merges other published data sets: their rows are copied, without reading checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from filterzoo.dataset.published import open_published
from filterzoo.dataset.untrusted import reading
from filterzoo.errors import Reason, Stage, StartError
from filterzoo.licensing.licences import Licence, LicenceClass
from filterzoo.outcome import LedgerEntry
from filterzoo.store.confidences import row_key
from filterzoo_publish.merge.dataset_origin import DatasetOrigin, dataset_candidates
from filterzoo_publish.plan.candidates import spooled, spooled_ledger
from filterzoo_publish.plan.origins import PublishableCheckpoint
from filterzoo_publish.plan.plan import Work
from filterzoo_publish.plan.rows import rows_of
from filterzoo_publish.plan.state import PublishedState, read_published
from filterzoo_publish.takedown.takedowns import is_taken_down

_REASONS = frozenset(Reason) - {Reason.TAKEN_DOWN}
_CLASSES = frozenset(LicenceClass)


def open_datasets(targets: Sequence[str]) -> Work:
    """Open the data sets at folders or `user/name`. If several have a checkpoint, the rows of the first are used.

    A model that any of them took down is taken from none. StartError if a data set is not available.
    """
    with reading(", ".join(targets)):
        return _open(targets)


def _open(targets: Sequence[str]) -> Work:
    opened = [(target, read_published(open_published(target))) for target in targets]
    for target, published in opened:
        if published.files is None:
            raise StartError(f"{target}: holds no data set")
    takedowns = [takedown for _, published in opened for takedown in published.takedowns]
    found: set[str] = set()
    listed: dict[str, str] = {}

    def candidates_in(published: PublishedState) -> Iterator[PublishableCheckpoint]:
        for candidate in dataset_candidates(published, DatasetOrigin(published)):
            name = candidate.model_id
            listed[name] = max(listed.get(name, ""), sys.intern(candidate.seen or ""))
            named = dict(zip(("source", "id", "revision"), candidate.key, strict=True))
            own = _with_strict_class(candidate)
            facts = {"licence": own.done.licence, "licence_class": own.done.licence_class}
            if name not in found and not is_taken_down(named | facts, takedowns):
                found.add(name)
                yield own

    candidates = spooled(candidate for _, published in opened for candidate in candidates_in(published))
    ledger = spooled_ledger(_ledgers((published for _, published in opened), found))
    confidences: dict[Any, dict[str, Any]] = {}
    for _, published in opened:
        for row in published.confidences.to_pylist():
            confidences.setdefault(row_key(row), row)
    return Work(
        candidates,
        ledger,
        {name: day for name, day in listed.items() if day},
        frozenset(),
        tuple(confidences.values()),
    )


def _ledgers(datasets: Iterable[PublishedState], found: Collection[str]) -> Iterator[LedgerEntry]:
    """The rows of `skipped` about checkpoints that none of the data sets has."""
    for published in datasets:
        for row in rows_of(published.skipped):
            is_valid = row["reason"] in _REASONS and row["stage"] in set(Stage)
            if is_valid and f"{row['source']}/{row['id']}@{row['revision']}" not in found:
                yield LedgerEntry(**(row | {"reason": Reason(row["reason"]), "stage": Stage(row["stage"])}))


def _with_strict_class(candidate: PublishableCheckpoint) -> PublishableCheckpoint:
    """The candidate with the stricter of two licence classes: the one of its licence here, and the one stated there."""
    done = candidate.done
    own = Licence.parse(done.licence).licence_class
    stated = LicenceClass(done.licence_class) if done.licence_class in _CLASSES else own
    return replace(
        candidate, done=replace(done, licence_class=max(own, stated, key=lambda licence: licence.strictness))
    )
