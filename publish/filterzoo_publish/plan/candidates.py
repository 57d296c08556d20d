"""Candidates for publication: checkpoints and ledger entries, in temporary files because memory may not hold them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from filterzoo.errors import Reason, Stage
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Artifact, Checkpoint, LeftOut
from filterzoo.store.documents import entry_document
from filterzoo_publish.plan.origins import Origin, PublishableCheckpoint
from filterzoo_publish.plan.spool import Spool


class CandidateLines:
    """Serialises candidates to lists for JSON, and back. Origins are few and stay in memory."""

    def __init__(self) -> None:
        self._origins: list[Origin] = []
        self._numbers: dict[int, int] = {}

    def line(self, candidate: PublishableCheckpoint) -> list[Any]:
        """The candidate as a list that JSON can encode."""
        origin = candidate.origin
        if id(origin) not in self._numbers:
            self._numbers[id(origin)] = len(self._origins)
            self._origins.append(origin)
        own = candidate.first_seen, candidate.seen, candidate.superseded_by
        return [self._numbers[id(origin)], *own, asdict(candidate.done)]

    def candidate(self, line: list[Any]) -> PublishableCheckpoint:
        """The candidate that `line` encodes."""
        number, first_seen, seen, superseded_by, done = line
        return PublishableCheckpoint(_done(done), self._origins[number], first_seen, seen, superseded_by)


def spooled(candidates: Iterable[PublishableCheckpoint]) -> Spool[PublishableCheckpoint]:
    """The candidates, sorted as models are."""
    lines = CandidateLines()
    spool = Spool(
        candidates,
        lambda candidate: json.dumps(lines.line(candidate)),
        lambda text: lines.candidate(json.loads(text)),
    )
    spool.sort(lambda candidate: candidate.key)
    return spool


def _done(found: dict[str, Any]) -> Done:
    checkpoint = found.pop("checkpoint")
    files = tuple(Artifact(**artifact) for artifact in checkpoint.pop("artifacts"))
    left_out = tuple(LeftOut(**left) for left in found.pop("left_out"))
    return Done(checkpoint=Checkpoint(artifacts=files, **checkpoint), left_out=left_out, **found)


def spooled_ledger(entries: Iterable[LedgerEntry]) -> Spool[LedgerEntry]:
    """The entries, in the given order."""
    return Spool(entries, entry_document, lambda text: _entry(json.loads(text)))


def _entry(found: dict[str, Any]) -> LedgerEntry:
    return LedgerEntry(**(found | {"reason": Reason(found["reason"]), "stage": Stage(found["stage"])}))
