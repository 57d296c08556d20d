"""Time limits and clocks of the door. Imports no network library, because few commands need one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time limits and clocks of the door, in seconds; replaced in tests."""

    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Time limits of a response, in seconds of waiting for the server; the time between reads does not count."""

    head: float = 60.0
    """Until the headers are complete."""
    window: float = 30.0
    """In each period of this many seconds of waiting ..."""
    rate: float = 10_000.0
    """... at least this many bytes a second must arrive."""
    overall: float = 900.0
    """Until the end, for a response of unknown length; for others, this plus ..."""
    overall_rate: float = 64_000.0
    """... their length divided by this rate."""
