"""Runs on the nodes: processes a batch of checkpoints with a worker that is kept for the next batch."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import filterzoo
from filterzoo.crawl.executor import Outcome
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.crawl.worker.worker import NeedsMemory, Worker
from filterzoo.errors import FilterZooError, Reason, Stage
from filterzoo.network.addresses import is_http
from filterzoo.network.files.cache import default_folder
from filterzoo.outcome import LedgerEntry
from filterzoo_plugins.executors.ray.shared import ClusterPace, answer


@dataclass(frozen=True, slots=True)
class Job:
    """The arguments of every Ray task of a crawl. setup: paths are below the folder that is sent with the job."""

    setup: WorkerSetup
    version: str = filterzoo.__version__


@dataclass(slots=True)
class BatchResult:
    """The result of a batch.

    outcomes: with the index of each task. larger: (index, bytes) of tasks that need more memory. fatal: an error that
    every other batch would have too; it ends the crawl.
    """

    outcomes: list[tuple[int, Outcome]] = field(default_factory=list)
    larger: list[tuple[int, int]] = field(default_factory=list)
    fatal: str = ""
    node: str = ""
    seconds: float = 0.0


_this_process: dict[Job, Worker] = {}
"""The worker of this process, reused by the Ray tasks that run in it one after the other."""


def take(
    job: Job, tasks: list[Task], layer_bytes: int | None, state: Any, number: int = -1, *, is_alone: bool = False
) -> BatchResult:
    """Process the tasks in turn.

    layer_bytes: of the largest layer for which memory is reserved. number: of the batch, for the progress; negative for
    none.
    """
    started = time.monotonic()
    report = BatchResult(node=socket.gethostname())
    if job.version != filterzoo.__version__:
        report.fatal = (
            f"node {report.node} has filterzoo {filterzoo.__version__}, the crawl {job.version}; install the same there"
        )
        return report
    try:
        with _worker(job, state, is_alone=is_alone) as worker:
            for place, task in enumerate(tasks):
                if number >= 0:
                    state.begin.remote(number, report.node, f"{task.checkpoint.source}/{task.checkpoint.id}")
                try:
                    report.outcomes.append((place, _with_hint(worker.take(task, layer_bytes), task, report.node)))
                except NeedsMemory as error:
                    report.larger.append((place, error.needed))
    except FilterZooError as error:
        report.fatal = f"node {report.node}: {error}"
    report.seconds = time.monotonic() - started
    return report


@contextlib.contextmanager
def _worker(job: Job, state: Any, *, is_alone: bool) -> Iterator[Worker]:
    """The worker of this process, created for its first batch; a checkpoint that is retried alone gets its own."""
    if is_alone:
        with contextlib.closing(_new_worker(job, state, lambda stage: answer(state.enter.remote(stage)))) as worker:
            yield worker
        return
    if job not in _this_process:
        _this_process[job] = _new_worker(job, state)
    yield _this_process[job]


def _new_worker(job: Job, state: Any, on_stage: Callable[[Stage], None] | None = None) -> Worker:
    """A worker with one arithmetic thread and folders of this node."""
    import threadpoolctl  # noqa: PLC0415  # the driver computes nothing

    threadpoolctl.threadpool_limits(1)
    cache = default_folder()
    folder, scratch = Path.cwd(), _scratch(cache / "nodes")
    setup = replace(
        job.setup,
        manifests=tuple(folder / path for path in job.setup.manifests),
        plugins=tuple(replace(one, file=str(folder / one.file)) if one.file else one for one in job.setup.plugins),
        cache=cache,
        scratch=scratch,
        hosts=scratch / "hosts",
    )
    return Worker(setup, on_stage, pace=ClusterPace(state))


def _scratch(folder: Path) -> Path:
    """A folder for this process; folders of killed processes on this machine are removed."""
    machine = socket.gethostname()
    for left in folder.glob(f"{machine}.*"):
        with contextlib.suppress(ValueError):
            if not _is_alive(int(left.name.rpartition(".")[2])):
                shutil.rmtree(left, ignore_errors=True)
    own = folder / f"{machine}.{os.getpid()}"
    own.mkdir(parents=True, exist_ok=True)
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    return own


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _with_hint(outcome: Outcome, task: Task, node: str) -> Outcome:
    """The outcome; for a local file of the crawl's machine, with a message that the node cannot open it."""
    is_local = not is_http(task.checkpoint.artifacts[0].url)
    if not (isinstance(outcome, LedgerEntry) and is_local and outcome.stage is Stage.FETCH):
        return outcome
    if outcome.reason is not Reason.FETCH_FAILED:
        return outcome
    detail = f"node {node} has no such file ({outcome.detail}); put it where all nodes see it, or crawl it locally"
    return replace(outcome, detail=detail)
