"""Limits the rate of requests to each host, across all threads and processes of a crawl."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from filterzoo.network.locks import file_lock

LONGEST = 60.0
"""Longest pause in seconds; a longer stored one means that a clock is wrong."""


class Pace(Protocol):
    """Limits the rate of requests to a host."""

    def wait(self, host: str, interval: float, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """Return when the next request to `host` may start; the following one may start `interval` seconds later.

        host: a name from `network.hosts`, because it becomes a file name. now: seconds since 1970, which processes
        share.
        """

    def hold(self, host: str, seconds: float, now: Callable[[], float]) -> None:
        """Allow no request to `host` for `seconds`, at most `LONGEST`."""


@dataclass(frozen=True, slots=True)
class FilePace(Pace):
    """A `Pace` shared through files in `folder`: one for each host, with the time of the next allowed request."""

    folder: Path

    def wait(self, host: str, interval: float, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """See `Pace.wait`."""
        if not interval:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / host
        with file_lock(note.with_name(f"{host}.lock")):
            time = now()
            start = min(max(time, _noted(note)), time + LONGEST)
            note.write_text(repr(start + interval), "ascii")
        if start > time:
            sleep(start - time)

    def hold(self, host: str, seconds: float, now: Callable[[], float]) -> None:
        """See `Pace.hold`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / host
        with file_lock(note.with_name(f"{host}.lock")):
            note.write_text(repr(max(_noted(note), now() + min(seconds, LONGEST))), "ascii")


def _noted(note: Path) -> float:
    """The stored time; 0 if there is no readable file."""
    try:
        time = float(note.read_text("ascii"))
    except (OSError, ValueError):
        return 0.0
    return time if math.isfinite(time) else 0.0
