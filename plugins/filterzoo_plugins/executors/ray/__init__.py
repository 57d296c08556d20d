"""Ray: checkpoints are processed on the nodes of a cluster; the library is imported when a crawl uses it."""

from __future__ import annotations

from filterzoo import Executor, hookimpl


@hookimpl
def filterzoo_executors() -> list[type[Executor]]:
    """See `filterzoo.hooks`."""
    from filterzoo_plugins.executors.ray.executor import RayExecutor  # noqa: PLC0415  # commands start without it

    return [RayExecutor]
