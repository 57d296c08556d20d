"""Restores a journal from the records in fragments, so that nothing must be fetched again."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from dataclasses import replace

import pyarrow as pa

from filterzoo.outcome import Done
from filterzoo.store.documents import UnknownFields, done_of
from filterzoo.store.fragments import LAYERS, FragmentOrigin, FragmentStore
from filterzoo.store.journal import Journal

FRAGMENT = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})\.(arrow|parquet)")
"""The path of a fragment in its store."""


def restore(journal: Journal, store: FragmentStore) -> int:
    """Record the checkpoints of sound layers fragments that the journal lacks; returns their number.

    Of several fragments of one checkpoint, the newest counts. Fragments that the journal refers to are not read.
    """
    newest: dict[tuple[str, str, str], tuple[tuple[float, str], Done, str]] = {}
    for name, done, settings in _described(store, {bytes.fromhex(name) for name in journal.fragments()}):
        key = (done.checkpoint.source, done.checkpoint.id, done.checkpoint.revision)
        age = (store.age_of(name), name)
        if not journal.knows(done.checkpoint) and (key not in newest or newest[key][0] < age):
            newest[key] = age, done, settings
    for _, done, settings in newest.values():
        journal.record_done(done, settings)
    return len(newest)


def _described(store: FragmentStore, known: Container[bytes]) -> Iterator[tuple[str, Done, str]]:
    """(name, record, settings) of each layers fragment whose bytes match its name."""
    for path in store.paths():
        matched = FRAGMENT.fullmatch(path)
        is_new = matched is not None and path.endswith(LAYERS) and bytes.fromhex(matched[2]) not in known
        origin = _origin(store, matched[2]) if matched is not None and is_new else None
        if matched is None or origin is None or store.sha256(matched[2]) != matched[2]:
            continue
        try:
            done = done_of(origin.done)
        except UnknownFields:
            raise
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # not written by a crawl
        yield matched[2], replace(done, layers_fragment=matched[2]), origin.settings


def _origin(store: FragmentStore, name: str) -> FragmentOrigin | None:
    try:
        return store.about(name)
    except (OSError, ValueError, pa.ArrowException):
        return None
