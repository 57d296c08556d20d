"""`status`: facts about models that change between releases, in one small file that each release replaces."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from filterzoo import temporary
from filterzoo.temporary import failing_by_name
from filterzoo_publish.plan.plan import Plan
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.plan.rows import rows_of, table_of
from filterzoo_publish.plan.state import PublishedState
from filterzoo_publish.plan.tables import first_seen, last_seen
from filterzoo_publish.schema import arrow_schema

CONFIG = "status"
_CACHE_KB = 16_000
Row = dict[str, Any]
_TABLE = """CREATE TABLE rows (
    model_id TEXT, checkpoint BLOB, revision BLOB, age INTEGER, listed TEXT, last_seen TEXT, superseded_by TEXT
)"""
_NEWEST = """
WITH newest AS (
    SELECT *,
        first_value(model_id) OVER revisions AS last_id,
        first_value(age) OVER revisions AS last_age,
        first_value(listed) OVER revisions AS last_listed
    FROM rows WINDOW revisions AS (PARTITION BY checkpoint ORDER BY age DESC, listed DESC, revision DESC)
)
SELECT model_id, last_seen, CASE
    WHEN (age, listed) < (last_age, last_listed) THEN last_id
    WHEN superseded_by IN (SELECT model_id FROM rows) THEN superseded_by
END FROM newest ORDER BY model_id
"""


def status_table(plan: Plan, published: PublishedState) -> pa.Table:
    """The rows of all models after the release.

    last_seen is updated if the crawl found the checkpoint listed. superseded_by names the newest revision of the same
    checkpoint: the one of the latest release or, within one release, the one listed last.
    """
    releases = (*published.releases, plan.release)
    return finished(_rows(plan, published), releases)


def _rows(plan: Plan, published: PublishedState) -> Iterator[Row]:
    day = plan.release.day
    for row in present_rows(published, former_status(published)):
        seen = plan.listed.get(row["model_id"])
        yield row | {"last_seen": max(row["last_seen"] or "", min(seen, day) if seen else "") or None}
    for entry in plan.entries:
        own, checkpoint = entry.candidate, entry.done.checkpoint
        yield {
            "model_id": entry.model_id,
            "source": checkpoint.source,
            "id": checkpoint.id,
            "revision": checkpoint.revision,
            "release": plan.release.name,
            "first_seen": first_seen(own, day),
            "last_seen": last_seen(own, day),
            "superseded_by": own.superseded_by,
            "listed": own.seen or "",
        }


def former_status(published: PublishedState) -> dict[str, Row]:
    """model_id -> the current row of `status`."""
    return {row["model_id"]: row for row in published.read(CONFIG).to_pylist()}


def present_rows(published: PublishedState, former: Mapping[str, Row]) -> Iterator[Row]:
    """The published models, with their rows of `status`."""
    columns = ["model_id", "source", "id", "revision", "release", "first_seen"]
    for row in rows_of(published.models.select(columns)):
        known = former.get(row["model_id"], {})
        last = known.get("last_seen") or row["first_seen"]
        yield row | {"last_seen": last, "superseded_by": known.get("superseded_by"), "listed": ""}


def finished(rows: Iterable[Row], releases: Iterable[Release]) -> pa.Table:
    """The table of all rows, sorted by model_id; superseded_by names the newest revision of the checkpoint."""
    place = {release.name: number for number, release in enumerate(releases)}
    with failing_by_name(), contextlib.closing(temporary.table(_TABLE, _CACHE_KB)) as database:
        database.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?, ?, ?)",
            (_stored(row, place.get(row["release"], -1)) for row in rows),
        )
        found: Iterator[Row] = (
            {"model_id": model_id, "last_seen": last, "superseded_by": superseded_by}
            for model_id, last, superseded_by in database.execute(_NEWEST)
        )
        return table_of(found, arrow_schema(CONFIG))


def _stored(row: Row, age: int) -> tuple[object, ...]:
    named = (_bytes(f"{len(row['source'])} {row['source']}/{row['id']}"), _bytes(row["revision"]))
    return row["model_id"], *named, age, row["listed"], row["last_seen"], row["superseded_by"]


def _bytes(text: str) -> bytes:
    """Text as bytes: SQLite rejects text with lone surrogates."""
    return text.encode("utf-8", "surrogatepass")
