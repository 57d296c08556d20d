"""A circuit breaker for hosts: no requests go to a failing host for a while, so that it costs minutes, not days.

All processes of a crawl share a folder that counts the consecutive failed requests to each host. Any response, even
"not found", resets the count.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from filterzoo.errors import Reason, Refused, on_disk
from filterzoo.network.addresses import origin_of
from filterzoo.network.locks import file_lock

AWAY_AFTER = 15
"""Consecutive failed requests after which a host counts as down: three requests with all their retries."""
REST = 900.0
"""Seconds until one request tries the host again; other requests are left to the next run."""


_NOTES = "the notes of hosts in the work folder"


class _Note(NamedTuple):
    """failures: in a row. until: time of the next request, in seconds since 1970. asked: the host requested it."""

    failures: int = 0
    until: float = 0.0
    asked: bool = False

    def holds(self, now: float) -> bool:
        """Whether no request may be sent now. A pause that is too long is ignored: the clock was set back."""
        return now < self.until and (self.asked or self.until - now <= REST)


@dataclass(frozen=True, slots=True)
class HostHealth:
    """The breaker's state in `folder`, one file per origin (scheme, host, port), for the processes of one crawl."""

    folder: Path

    def check(self, url: str, now: float) -> None:
        """Refused (fetch_failed) while the host of `url` is down; the same message for all its files."""
        path = self._path(url)
        note = _read(path)
        if not note.holds(now):
            return
        origin, until = origin_of(url), utc(note.until)
        if note.asked:
            detail = f"the host asks to wait until {until}; what is left of it is for a run after that"
            raise Refused(Reason.FETCH_FAILED, detail, origin, not_before=until)
        detail = (
            f"the host is unavailable: {AWAY_AFTER} requests in a row failed; it gets no requests before {until}; "
            "other hosts do, and the next run continues with the rest"
        )
        raise Refused(Reason.FETCH_FAILED, detail, origin)

    @on_disk(_NOTES)
    def failed(self, url: str, now: float, wait: float | None = None, longest: float = 300.0) -> None:
        """Count a failed request. wait: the pause in seconds that the host asks for, reported if above `longest`."""
        path = self._path(url)
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(path.with_suffix(".lock")):
            note = _read(path)
            failures = note.failures + 1
            if wait is not None and wait > longest:
                note = _Note(failures, max(note.until, now + wait), asked=True)
            elif failures >= AWAY_AFTER and not note.holds(now):
                note = _Note(failures, now + REST)
            else:
                note = note._replace(failures=failures)
            temporary = path.with_suffix(".new")
            temporary.write_text(json.dumps(note), "ascii")
            temporary.replace(path)

    @on_disk(_NOTES)
    def answered(self, url: str) -> None:
        """Note that the host of `url` responds."""
        self._path(url).unlink(missing_ok=True)

    def _path(self, url: str) -> Path:
        return self.folder / hashlib.sha256(origin_of(url).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def utc(seconds: float) -> str:
    """A Unix time as `2026-12-01T18:00:00Z`; the latest date for times beyond it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "9999-12-31T23:59:59Z"


def _read(path: Path) -> _Note:
    try:
        failures, until, asked = json.loads(path.read_bytes())
        return _Note(int(failures), float(until), bool(asked))
    except (OSError, ValueError, TypeError):
        return _Note()
