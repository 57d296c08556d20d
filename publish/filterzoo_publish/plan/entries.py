"""The new checkpoints of a plan: small handles, whose records are read from a temporary file when they are used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from filterzoo.outcome import Done
from filterzoo.store.sample import Sampled
from filterzoo_publish.plan.candidates import CandidateLines
from filterzoo_publish.plan.facts import FACTUAL, facts_of_layers
from filterzoo_publish.plan.origins import FilterFragment, PublishableCheckpoint, StoredLayer
from filterzoo_publish.plan.spool import Spool

_KEPT = 16
"""Records that are kept: those of the entries that several threads work on."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan decides about a new checkpoint; see `PlanEntry`."""

    candidate: PublishableCheckpoint
    weights_id: str | None
    duplicate_of: str | None
    published: tuple[StoredLayer, ...]
    owned: frozenset[str]


class PlannedSpool:
    """The records of a plan. Several threads may read them."""

    def __init__(self, records: Iterable[Planned]) -> None:
        lines = CandidateLines()
        self._spool: Spool[Planned] = Spool(
            records,
            lambda one: json.dumps(_line(one, lines)),
            lambda text: _planned(json.loads(text), lines),
        )
        self.read = lru_cache(_KEPT)(self._spool.__getitem__)

    def __iter__(self) -> Iterator[Planned]:
        return iter(self._spool)

    def entries(self) -> tuple[PlanEntry, ...]:
        """One for each record."""
        return tuple(PlanEntry(self, place) for place in range(len(self._spool)))


@dataclass(frozen=True, slots=True, eq=False)
class PlanEntry:
    """A new checkpoint.

    `published`: its layers whose filters the data set has after the release; `owned`: those it adds.
    """

    _spool: PlannedSpool
    _place: int

    @property
    def _record(self) -> Planned:
        return self._spool.read(self._place)

    @property
    def candidate(self) -> PublishableCheckpoint:
        """The checkpoint."""
        return self._record.candidate

    @property
    def model_id(self) -> str:
        """`source/id@revision`."""
        return self._record.candidate.model_id

    @property
    def weights_id(self) -> str | None:
        """See the column of `models`."""
        return self._record.weights_id

    @property
    def duplicate_of(self) -> str | None:
        """See the column of `models`."""
        return self._record.duplicate_of

    @property
    def published(self) -> tuple[StoredLayer, ...]:
        """See the class."""
        return self._record.published

    @property
    def owned(self) -> frozenset[str]:
        """See the class."""
        return self._record.owned

    @property
    def done(self) -> Done:
        """The outcome of its crawl."""
        return self.candidate.done

    def layers(self) -> pa.Table:
        """Its layers, LAYER_SCHEMA."""
        candidate = self.candidate
        return candidate.origin.layers(candidate.done)

    def filters(self, wanted: frozenset[str]) -> Iterator[pa.Table]:
        """The filters of these of its unique layers, one table for each, FILTER_SCHEMA."""
        candidate = self.candidate
        return candidate.origin.filters(candidate.done, wanted)

    def take_file(self, place: Path, *, as_link: bool) -> FilterFragment | None:
        """Put the file with exactly the filters that it adds at `place`; None where there is none."""
        record = self._record
        if len(record.owned) != len(record.published):
            return None
        return record.candidate.origin.take_file(record.candidate.done, place, as_link=as_link)

    def sample(self) -> dict[str, Sampled] | None:
        """See `Origin.sample`."""
        candidate = self.candidate
        return candidate.origin.sample(candidate.done)

    def facts_of_layers(self) -> dict[str, Any]:
        """See the function of this name."""
        return facts_of_layers(self.layers().select(FACTUAL).to_pylist())

    @property
    def stored(self) -> tuple[StoredLayer, ...]:
        """The layers whose filters this release stores under the checkpoint's name."""
        record = self._record
        return tuple(layer for layer in record.published if layer.layer_id in record.owned)


def _line(one: Planned, lines: CandidateLines) -> list[Any]:
    layers = [[layer.layer_id, layer.kernel, layer.filters, layer.numbers] for layer in one.published]
    return [lines.line(one.candidate), one.weights_id, one.duplicate_of, layers, sorted(one.owned)]


def _planned(line: Sequence[Any], lines: CandidateLines) -> Planned:
    candidate, weights_id, duplicate_of, layers, owned = line
    published = tuple(StoredLayer(*layer) for layer in layers)
    return Planned(lines.candidate(candidate), weights_id, duplicate_of, published, frozenset(owned))
