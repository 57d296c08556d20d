"""The JSON documents of the journal: one for each finished checkpoint and for each entry of the ledger."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from filterzoo.errors import Reason, Stage
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.records import Artifact, Checkpoint, LeftOut

_DONE = frozenset(field.name for field in fields(Done))
_CHECKPOINT = frozenset(field.name for field in fields(Checkpoint))
_ARTIFACT = frozenset(field.name for field in fields(Artifact))
_ENTRY = frozenset(field.name for field in fields(LedgerEntry))
UNREADABLE = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""Exceptions of `done_of` and `entry_of` for a document that no crawl wrote."""


class UnknownFields(ValueError):
    """Raised for a document with fields that this version does not know."""


@cache
def _records() -> TypeAdapter[Done]:
    """Created on first use, because a new journal has nothing to read."""
    return TypeAdapter(Done)


@cache
def _entries() -> TypeAdapter[LedgerEntry]:
    """Created on first use, like `_records`."""
    return TypeAdapter(LedgerEntry)


def done_of(document: str) -> Done:
    """A document of `done`; UnknownFields or one of `UNREADABLE` for anything else."""
    found = json.loads(document)
    checkpoint = found["checkpoint"]
    _check_fields(found.keys() - _DONE, checkpoint.keys() - _CHECKPOINT)
    _check_fields(*(artifact.keys() - _ARTIFACT for artifact in checkpoint["artifacts"]))
    try:
        return _records().validate_json(document)
    except ValidationError:
        _records().validate_json(_without_surrogates(found))
        artifacts = tuple(Artifact(**artifact) for artifact in checkpoint.pop("artifacts"))
        left = tuple(LeftOut(**left) for left in found.pop("left_out", ()))
        return Done(**(found | {"checkpoint": Checkpoint(artifacts=artifacts, **checkpoint), "left_out": left}))


def json_of_entry(document: str) -> str:
    """A document of `ledger` as JSON in ASCII, on one line, with all fields; raises as `done_of`."""
    entry, has_all_fields = _entry(document)
    # What this version wrote is printed as it is: `status --json` prints up to 100,000 of them.
    is_line = has_all_fields and document.isascii() and document.isprintable()
    return document if is_line else entry_document(entry)


def entry_of(document: str) -> LedgerEntry:
    """A document of `ledger`; raises as `done_of`."""
    return _entry(document)[0]


def _entry(document: str) -> tuple[LedgerEntry, bool]:
    """The entry, and whether the document has all of its fields."""
    found = json.loads(document)
    _check_fields(found.keys() - _ENTRY)
    has_all_fields = len(found) == len(_ENTRY)
    try:
        return _entries().validate_json(document), has_all_fields
    except ValidationError:
        _entries().validate_json(_without_surrogates(found))
        entry = LedgerEntry(**(found | {"reason": Reason(found["reason"]), "stage": Stage(found["stage"])}))
        return entry, has_all_fields


def _without_surrogates(found: Any) -> bytes:
    """The document with lone surrogates (from file names) replaced."""
    return json.dumps(found, ensure_ascii=False).encode(errors="replace")


def done_document(done: Done) -> str:
    """The document that `done_of` reads."""
    return json.dumps(asdict(done), sort_keys=True)


def entry_document(entry: LedgerEntry) -> str:
    """The document that `entry_of` reads."""
    return json.dumps(asdict(entry), sort_keys=True)


def _check_fields(*unknown: set[str]) -> None:
    for names in unknown:
        if names:
            raise UnknownFields(f"a record has the field {ascii(min(names))[:80]}, which this version does not know")
