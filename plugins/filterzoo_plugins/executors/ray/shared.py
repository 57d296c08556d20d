"""Shared state of the cluster: the time of the next request to each host, and the stage of each checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from filterzoo.errors import Stage
from filterzoo.network.pace import LONGEST, Pace


class ClusterState:
    """A Ray actor. All times are by its own clock, so the clocks of the nodes need not agree."""

    def __init__(self) -> None:
        self._free_at: dict[str, float] = {}
        self._stage = Stage.FETCH
        self._running: dict[int, tuple[str, str]] = {}

    def reserve(self, host: str, interval: float) -> float:
        """Seconds to wait before the next request to `host`; another may follow `interval` seconds later."""
        now = time.monotonic()
        start = min(max(now, self._free_at.get(host, now)), now + LONGEST)
        self._free_at[host] = start + interval
        return start - now

    def hold(self, host: str, seconds: float) -> None:
        """Allow no request to `host` for `seconds`, at most `LONGEST`."""
        until = time.monotonic() + min(seconds, LONGEST)
        self._free_at[host] = max(self._free_at.get(host, until), until)

    def begin(self, batch: int, node: str, checkpoint: str) -> None:
        """Record that the node starts a checkpoint of that batch."""
        self._running[batch] = node, checkpoint

    def running(self, ended: list[int]) -> dict[int, tuple[str, str]]:
        """Number of a batch -> its node and its current checkpoint; ended batches are removed."""
        for batch in ended:
            self._running.pop(batch, None)
        return self._running

    def enter(self, stage: Stage) -> None:
        """Record the stage of the checkpoint that is retried alone."""
        self._stage = stage

    def stage(self) -> Stage:
        """The last stage passed to `enter`."""
        return self._stage


@dataclass(frozen=True, slots=True)
class ClusterPace(Pace):
    """The pace of a cluster: `state` is the handle of a `ClusterState`."""

    state: Any

    def wait(self, host: str, interval: float, now: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """See `Pace.wait`; the clock is the actor's."""
        del now
        if interval and (pause := answer(self.state.reserve.remote(host, interval))):
            sleep(pause)

    def hold(self, host: str, seconds: float, now: Callable[[], float]) -> None:
        """See `Pace.hold`."""
        del now
        answer(self.state.hold.remote(host, seconds))


def answer(reference: Any) -> Any:
    """The result of an actor's method. `ray.get` would give the task's core to another task meanwhile."""
    return reference.future().result()
