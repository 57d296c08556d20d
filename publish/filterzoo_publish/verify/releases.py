"""Checks the list of releases, `status`, and that no model of a takedown request is present."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from filterzoo.errors import StartError
from filterzoo.store.sample import LARGEST_QUOTA
from filterzoo_publish.plan.releases import RELEASES, Release, read_releases
from filterzoo_publish.plan.status import finished
from filterzoo_publish.takedown.takedowns import TAKEDOWNS, is_taken_down, read_takedowns
from filterzoo_publish.verify.models import Model
from filterzoo_publish.verify.problems import Examination

_UNKNOWN = (Release(name="", day="", sample_quota=LARGEST_QUOTA),)


def check_releases(examination: Examination, models: Mapping[str, Model]) -> Sequence[Release]:
    """The releases. Each model must belong to one, and no release may have more models than it states."""
    try:
        releases = read_releases(examination.files.text(RELEASES))
    except StartError as error:
        examination.report("releases", RELEASES, str(error))
        return _UNKNOWN
    if not releases:
        examination.report("releases", RELEASES, "missing or empty")
        return _UNKNOWN
    added = {release.name: release.models for release in releases}
    for name, count in sorted(Counter(model["release"] for model in models.values()).items()):
        if count > added.get(name, 0):
            examination.report("releases", RELEASES, f"{count} models are of {name}, which added {added.get(name, 0)}")
    if len(added) < len(releases) or [release.day for release in releases] != sorted(r.day for r in releases):
        examination.report("releases", RELEASES, "the releases are not in order, each once")
    return releases


def check_status(examination: Examination, models: Mapping[str, Model], releases: Sequence[Release]) -> None:
    """`status` must have one row for each model, in order. Old revisions must name the newest one."""
    rows: list[dict[str, Any]] = []
    path = "data/status"
    for path, _, table in examination.row_groups("status"):  # noqa: B007  # the last one names the place of problems
        rows += table.to_pylist()
    names = [row["model_id"] for row in rows]
    if names != sorted(models):
        examination.report("status", path, "has not one row for each model, in the order of their ids")
        return
    known = [models[row["model_id"]] | row | {"listed": ""} for row in rows]
    said = {row["model_id"]: row["superseded_by"] for row in rows}
    for row in finished(known, releases).to_pylist():
        name = row["model_id"]
        if row["superseded_by"] != said[name]:
            examination.report("status", path, f"{name} is superseded by {row['superseded_by']}, not {said[name]}")
        if row["last_seen"] < models[name]["first_seen"]:
            examination.report("status", path, f"{name} was seen for the last time before it was seen first")


def check_takedowns(examination: Examination, models: Mapping[str, Model]) -> None:
    """No published model may match a takedown request. Rows of other configs are checked against the models."""
    try:
        takedowns = read_takedowns(examination.files.text(TAKEDOWNS))
    except StartError as error:
        examination.report("takedown", TAKEDOWNS, str(error))
        return
    for name, model in models.items():
        if is_taken_down(model, takedowns):
            examination.report("takedown", name, "was taken down and is there")
