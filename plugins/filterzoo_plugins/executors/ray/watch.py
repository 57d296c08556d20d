"""Shows which node processes which checkpoint; polled about once a second, without waiting for the response."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from filterzoo.crawl.executor import Running


class Watch:
    """Follows batches by their numbers. state: a `ClusterState` handle. show: called with the running checkpoints."""

    def __init__(self, ray: Any, state: Any, show: Callable[[Running], None]) -> None:
        self._ray = ray
        self._state = state
        self._show = show
        self._sizes: dict[int, int] = {}
        self._ended: list[int] = []
        self._asked: Any = None
        self._next = 0

    def submitted(self, size: int) -> int:
        """The number of a new batch of `size` checkpoints."""
        number, self._next = self._next, self._next + 1
        self._sizes[number] = size
        return number

    def ended(self, number: int) -> None:
        """Record that the batch is no longer in flight."""
        del self._sizes[number]
        self._ended.append(number)

    def look(self) -> None:
        """Show the response to the last request, if it arrived, and send the next; a lost request is sent again."""
        if self._asked is not None:
            ready, _ = self._ray.wait([self._asked], timeout=0)
            if not ready:
                return
            # If the actor's node is lost, the actor restarts and knows only later checkpoints.
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._show_running(self._ray.get(ready[0]))
        self._asked, self._ended = self._state.running.remote(self._ended), []

    def _show_running(self, running: dict[int, tuple[str, str]]) -> None:
        nodes: defaultdict[str, list[str]] = defaultdict(list)
        for number, (node, checkpoint) in running.items():
            if number in self._sizes:
                nodes[node].append(checkpoint)
        waiting = sum(size for number, size in self._sizes.items() if number not in running)
        self._show(Running({node: tuple(names) for node, names in sorted(nodes.items())}, waiting))
