"""Pairs of networks that have layers in common; in temporary tables of SQLite, since layers are millions."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from operator import itemgetter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filterzoo import temporary
from filterzoo.temporary import failing_by_name

_MOST_HOLDERS = 50
"""A layer in more networks than this is no evidence of descent (a fixed filter)."""
_CACHE_KB = 32_000
_DIGEST = 16
_HOLDERS = "CREATE TABLE holders (layer BLOB, model INTEGER, PRIMARY KEY (layer, model)) WITHOUT ROWID"
_PAIRS = """CREATE TABLE pairs (
    first INTEGER, second INTEGER, layers INTEGER, PRIMARY KEY (first, second)
) WITHOUT ROWID"""
_COUNT = "INSERT INTO pairs VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET layers = layers + 1"


class SharedLayers:
    """Which networks have which layers. models: their names; layers of others are an error."""

    def __init__(self, models: Sequence[str]) -> None:
        self._names = sorted(models)
        self._numbers = {name: number for number, name in enumerate(self._names)}
        self._holders = temporary.table(_HOLDERS, _CACHE_KB)

    def add(self, layers: pa.Table) -> None:
        """Add layers: `model_id`, `layer_id`, `l2_norm`; those of zeros alone say nothing."""
        table = layers.filter(pc.greater(layers["l2_norm"], 0))
        digests = map(_digest, table["layer_id"].to_pylist())
        models = map(self._numbers.__getitem__, table["model_id"].to_pylist())
        with failing_by_name():
            self._holders.executemany("INSERT OR IGNORE INTO holders VALUES (?, ?)", zip(digests, models, strict=True))

    def pairs(self) -> Iterator[tuple[str, str, float]]:
        """Two names, sorted, and the share of the first one's distinct layers that the second has; called once."""
        own = np.zeros(len(self._names), np.int64)
        with failing_by_name(), contextlib.closing(temporary.table(_PAIRS, _CACHE_KB)) as database:
            with contextlib.closing(self._holders):
                rows = self._holders.execute("SELECT layer, model FROM holders ORDER BY layer, model")
                for _layer, held in groupby(rows, key=itemgetter(0)):
                    models = [model for _, model in held]
                    own[models] += 1
                    if 1 < len(models) <= _MOST_HOLDERS:
                        database.executemany(_COUNT, combinations(models, 2))
            for first, second, count in database.execute("SELECT * FROM pairs ORDER BY first, second"):
                yield self._names[first], self._names[second], count / int(own[first])


def _digest(layer_id: str) -> bytes:
    return hashlib.blake2b(layer_id.encode("utf-8"), digest_size=_DIGEST).digest()
