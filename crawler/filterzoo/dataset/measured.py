"""`filterzoo.layers`: the layers of a query as a table of their measures."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from filterzoo.dataset.published import Target, open_published
from filterzoo.dataset.query import LayerQuery
from filterzoo.dataset.words import Names, words_of

_LONG = frozenset({"raw_mean", "raw_m2", "scaled_mean", "scaled_m2", "dct_histogram"})
"""Columns with 9 to 630 numbers in each cell: sufficient statistics for `stats`, not meant to be read."""


def layers(
    target: Target,
    *,
    models: Names | None = None,
    source: Names | None = None,
    task: Names | None = None,
    licence: Names | None = None,
    layers: Names | None = None,
    name: Names | None = None,
    depth: tuple[float, float] | None = None,
    kind: Names | None = None,
    kernel: Names | None = None,
    where: pc.Expression | None = None,
    unique: bool = False,
    revision: str | None = None,
    columns: Sequence[str] | None = None,
    **bounds: float | None,
) -> pa.Table:
    """The layers of a query with their measures, a row for each; `.to_pandas()` makes a data frame of them.

    The conditions mean what they mean in `load`. kernel: one or several, None: all. Layers whose weights are not
    published are there too. columns: None for all but those that hold 9 to 630 numbers in each cell.
    Raises StartError if there is no such data set, ValueError as `load` does.
    """
    query = LayerQuery(
        models=models,
        source=source,
        task=task,
        licence=licence,
        layers=layers,
        name=name,
        depth=depth,
        kind=kind,
        kernel=kernel,
        bounds=bounds,
        where=where,
        unique=unique,
    )
    chosen = words_of("columns", columns)
    files = open_published(target, revision)
    if chosen is not None:
        return query.rows(files, chosen).select(chosen)
    return query.rows(files, None, without=_LONG)
