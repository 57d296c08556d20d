"""The releases of a data set: named by their day, listed in `releases.csv` beside the README."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, date, datetime, timedelta
from itertools import count

from filterzoo.errors import StartError

RELEASES = "releases.csv"
_NAME = re.compile(r"v(\d{4})\.(\d\d)\.(\d\d)", re.ASCII)
_RELEASE = re.compile(rf"{_NAME.pattern}(?:\.[1-9]\d{{0,5}})?", re.ASCII)
_LARGEST = 1 << 53
"""Larger than any real count, and exact in every CSV reader."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release: `vYYYY.MM.DD`, with `.1`, `.2`, ... for further ones of that day; day: `YYYY-MM-DD`.

    models, layers, filters: the numbers that it added (filters: stored ones). removed: the number of models that it
    took down. sample_quota: the largest number of filters of one checkpoint in `filters_sample` since then.
    """

    name: str
    day: str
    models: int = 0
    layers: int = 0
    filters: int = 0
    removed: int = 0
    sample_quota: int = 0


_NUMBERS = tuple(field.name for field in fields(Release))[2:]


def next_release(chosen: str | None, releases: Sequence[Release], tags: Collection[str]) -> Release:
    """The next release, without counts. `chosen`: its day as `vYYYY.MM.DD`; None for today, in UTC.

    StartError if the name is malformed, if the day is before that of the newest release, and if it is in the future in
    every time zone, because releases are in the order of their days.
    """
    today = datetime.now(UTC).date()
    day = _day(chosen) if chosen is not None else today.isoformat()
    if day > (today + timedelta(days=1)).isoformat():
        raise StartError(
            f"{ascii(day)[1:-1]}: lies in the future; a release is named by its day, today v{today:%Y.%m.%d}"
        )
    if releases and day < releases[-1].day:
        if chosen is not None:
            raise StartError(f"{chosen}: the newest release is {releases[-1].name}; choose its day or a later one")
        # The previous publisher's clock was ahead; the order of releases matters more than the day.
        day = releases[-1].day
    taken = {release.name for release in releases} | set(tags)
    for number in count():
        name = "v" + day.replace("-", ".") + (f".{number}" if number else "")
        if name not in taken:
            return Release(name=name, day=day)
    raise AssertionError("count() does not end")


def _day(name: str) -> str:
    match = _NAME.fullmatch(name)
    try:
        if match:
            return date(*map(int, match.groups())).isoformat()
    except ValueError:
        pass
    raise StartError(f"{ascii(name)[:80]}: a release is named by its day, such as v2026.11.24")


def read_releases(text: str | None) -> tuple[Release, ...]:
    """The releases in order; StartError if the file is malformed."""
    if text is None:
        return ()
    try:
        rows = list(csv.DictReader(io.StringIO(text)))
        return tuple(_release(row) for row in rows)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise StartError(f"{RELEASES}: is not as a release wrote it ({error}); take an older one") from error


def _release(row: dict[str, str]) -> Release:
    """A row of the file; ValueError if it is malformed."""
    name, day = row["name"], row["day"]
    numbers = {number: int(row[number]) for number in _NUMBERS}
    match = _RELEASE.fullmatch(name)
    if not match or "-".join(match.groups()) != date.fromisoformat(day).isoformat():
        raise ValueError(f"{ascii(name)[:40]} is no release of {ascii(day)[:40]}")
    if wrong := [number for number, value in numbers.items() if not 0 <= value < _LARGEST]:
        raise ValueError(f"{wrong[0]} of {name} is {numbers[wrong[0]]}")
    return Release(name=name, day=day, **numbers)


def releases_csv(releases: Iterable[Release]) -> str:
    """The file's text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Release)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(release) for release in releases)
    return text.getvalue()
