"""Which events a crawl logs, and in which form."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class LogFormat(StrEnum):
    """How events are written to standard error."""

    TEXT = "text"
    JSON = "json"


class Level(IntEnum):
    """Which events are logged; all are counted."""

    NOTHING = 0
    FAILURES = 1
    NEWS = 2
    ALL = 3
    """Also checkpoints that were done before."""
