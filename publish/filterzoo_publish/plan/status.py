"""`status`: the changing facts about models, in one small file that each release replaces."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from filterzoo_publish.plan.plan import Plan
from filterzoo_publish.plan.releases import Release
from filterzoo_publish.plan.state import PublishedState
from filterzoo_publish.plan.tables import first_seen, last_seen
from filterzoo_publish.schema import arrow_schema

CONFIG = "status"
Row = dict[str, Any]


def status_table(plan: Plan, published: PublishedState) -> pa.Table:
    """The rows of all models after the release.

    last_seen is updated where a crawl found the checkpoint listed. superseded_by names the newest revision of the same
    checkpoint: the one that came with the latest release or, within one, was listed last.
    """
    day, releases = plan.release.day, (*published.releases, plan.release)
    former = former_status(published)
    rows = present_rows(published, former)
    for row in rows:
        seen = plan.listed.get(row["model_id"])
        row["last_seen"] = max(row["last_seen"] or "", min(seen, day) if seen else "") or None
    for entry in plan.entries:
        own, checkpoint = entry.candidate, entry.done.checkpoint
        rows.append(
            {
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
        )
    return finished(rows, releases)


def former_status(published: PublishedState) -> dict[str, Row]:
    """model_id -> the current row of `status`."""
    return {row["model_id"]: row for row in published.read(CONFIG).to_pylist()}


def present_rows(published: PublishedState, former: Mapping[str, Row]) -> list[Row]:
    """The published models, with their rows of `status`."""
    columns = ["model_id", "source", "id", "revision", "release", "first_seen"]
    rows: list[Row] = []
    for row in published.models.select(columns).to_pylist():
        known = former.get(row["model_id"], {})
        last = known.get("last_seen") or row["first_seen"]
        rows.append(row | {"last_seen": last, "superseded_by": known.get("superseded_by"), "listed": ""})
    return rows


def finished(rows: Iterable[Row], releases: Iterable[Release]) -> pa.Table:
    """The table of all rows, in the order of their ids, each with the newest revision of its checkpoint."""
    place = {release.name: number for number, release in enumerate(releases)}
    revisions: defaultdict[tuple[str, str], list[tuple[tuple[int, str], str, Row]]] = defaultdict(list)
    for row in rows:
        age = place.get(row["release"], -1), row["listed"]
        revisions[row["source"], row["id"]].append((age, row["revision"], row))
    names = {row["model_id"] for own in revisions.values() for _, _, row in own}
    found: list[Row] = []
    for own in revisions.values():
        newest = max(own, key=lambda revision: revision[:2])
        for age, _, row in own:
            if age < newest[0]:
                row["superseded_by"] = newest[2]["model_id"]
            elif row["superseded_by"] not in names:
                row["superseded_by"] = None
            found.append(row)
    found.sort(key=lambda row: row["model_id"])
    return pa.Table.from_pylist(found, schema=arrow_schema(CONFIG))
