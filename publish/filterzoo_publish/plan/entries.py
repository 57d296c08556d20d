"""The new checkpoints of a plan: small handles. Their records are in a temporary file and are read on use."""

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

_CACHED_RECORDS = 16
"""Size of the cache of records: enough for the entries that several threads work on."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a plan decides about a new checkpoint; see `PlanEntry`."""

    candidate: PublishableCheckpoint
    weights_id: str | None
    duplicate_of: str | None
    published: tuple[StoredLayer, ...]
    owned: frozenset[str]


class PlannedSpool:
    """The records of a plan. Threads may read them concurrently."""

    def __init__(self, records: Iterable[Planned]) -> None:
        lines = CandidateLines()
        self._spool: Spool[Planned] = Spool(
            records,
            lambda record: json.dumps(_line(record, lines)),
            lambda text: _planned(json.loads(text), lines),
        )
        self.read = lru_cache(_CACHED_RECORDS)(self._spool.__getitem__)

    def __iter__(self) -> Iterator[Planned]:
        return iter(self._spool)

    def entries(self) -> tuple[PlanEntry, ...]:
        """A handle for each record."""
        return tuple(PlanEntry(self, place) for place in range(len(self._spool)))


@dataclass(frozen=True, slots=True, eq=False)
class PlanEntry:
    """A new checkpoint."""

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
        """The column of `models`."""
        return self._record.weights_id

    @property
    def duplicate_of(self) -> str | None:
        """The column of `models`."""
        return self._record.duplicate_of

    @property
    def published(self) -> tuple[StoredLayer, ...]:
        """Its layers whose filters the data set has after the release."""
        return self._record.published

    @property
    def owned(self) -> frozenset[str]:
        """The ids of the layers whose filters it adds."""
        return self._record.owned

    @property
    def done(self) -> Done:
        """The outcome of its crawl."""
        return self.candidate.done

    def layers(self) -> pa.Table:
        """Its layers, in LAYER_SCHEMA."""
        candidate = self.candidate
        return candidate.origin.layers(candidate.done)

    def filters(self, wanted: frozenset[str]) -> Iterator[pa.Table]:
        """The filters of its unique layers whose ids are in `wanted`: a table for each layer, in FILTER_SCHEMA."""
        candidate = self.candidate
        return candidate.origin.filters(candidate.done, wanted)

    def take_file(self, place: Path, *, as_link: bool) -> FilterFragment | None:
        """Copy or link its filters fragment to `place`; None if the fragment has other filters than the entry adds."""
        record = self._record
        if len(record.owned) != len(record.published):
            return None
        return record.candidate.origin.take_file(record.candidate.done, place, as_link=as_link)

    def sample(self) -> dict[str, Sampled] | None:
        """See `Origin.sample`."""
        candidate = self.candidate
        return candidate.origin.sample(candidate.done)

    def facts_of_layers(self) -> dict[str, Any]:
        """Columns of `models` that are computed from its layers."""
        return facts_of_layers(self.layers().select(FACTUAL).to_pylist())

    @property
    def stored(self) -> tuple[StoredLayer, ...]:
        """The layers whose filters this release stores under the checkpoint's id."""
        record = self._record
        return tuple(layer for layer in record.published if layer.layer_id in record.owned)


def _line(planned: Planned, lines: CandidateLines) -> list[Any]:
    layers = [[layer.layer_id, layer.kernel, layer.filters, layer.numbers] for layer in planned.published]
    candidate = lines.line(planned.candidate)
    return [candidate, planned.weights_id, planned.duplicate_of, layers, sorted(planned.owned)]


def _planned(line: Sequence[Any], lines: CandidateLines) -> Planned:
    candidate, weights_id, duplicate_of, layers, owned = line
    published = tuple(StoredLayer(*layer) for layer in layers)
    return Planned(lines.candidate(candidate), weights_id, duplicate_of, published, frozenset(owned))
