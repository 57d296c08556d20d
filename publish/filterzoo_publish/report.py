"""The report of a release or dry run, for people and machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Additions of a release or dry run.

    release: its name, None where there was none to make. models: by source. licences: models by licence class.
    filters: stored ones, each unique layer's once. rows: source -> its models, layers and filters of these.
    weight_bytes: of the filters in memory, 4 a number; in Parquet they take about five sixths of that. skipped: rows of
    the ledger as it is now. files: path -> bytes, empty for a dry run. url, tag: of the commit, on the Hub.
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
    """Whether nothing was, or would be, added or replaced."""
    changed: tuple[str, ...] = ()
    """Published models whose facts differ in the work folder; their rows are not changed."""

    def document(self) -> dict[str, Any]:
        """The report as `publish --json` prints it."""
        return asdict(self)
