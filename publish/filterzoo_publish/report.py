"""The report of a release or dry run, for people and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a release or dry run adds.

    release: its name, None if there is nothing to release. models: number by source. licences: number of models by
    licence class. filters: stored filters, those of each unique layer once. rows: source -> its number of models,
    layers and stored filters. weight_bytes: size of these filters in memory, 4 bytes a weight; in Parquet they take
    about five sixths of that. skipped: rows of the ledger after the release. files: path -> bytes, empty for a dry run.
    url, tag: those of the commit on the Hub.
    """

    target: str
    release: str | None
    models: Mapping[str, int]
    licences: Mapping[str, int]
    layers: int
    filters: int
    rows: Mapping[str, Mapping[str, int]]
    weight_bytes: int
    skipped: int
    files: Mapping[str, int]
    removed: tuple[str, ...]
    dry_run: bool
    url: str | None
    tag: str | None
    is_empty: bool
    """Whether the release adds and replaces nothing."""
    changed: tuple[str, ...] = ()
    """Published models whose facts differ in the work folder. Their rows are not changed."""

    def document(self) -> dict[str, Any]:
        """The report as `publish --json` prints it."""
        return asdict(self)
