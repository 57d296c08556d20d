"""The Ray executor: submits batches, and distinguishes lost nodes from checkpoints that kill workers."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from filterzoo.crawl.executor import Executor, ExecutorOptions, Outcome
from filterzoo.errors import Reason, Refused, StartError, StorageFailed
from filterzoo.network.pace import Pace
from filterzoo.outcome import Done
from filterzoo.stopping import Stopped
from filterzoo_plugins.executors.ray import cluster
from filterzoo_plugins.executors.ray.batches import BASE, GPU_SHARE, Batch, Batches, Needs
from filterzoo_plugins.executors.ray.shared import ClusterPace
from filterzoo_plugins.executors.ray.watch import Watch

if TYPE_CHECKING:
    from filterzoo.crawl.task import Task, WorkerSetup
    from filterzoo_plugins.executors.ray.node import BatchResult, Job

_AHEAD = 2
"""Batches for each core: one in progress, one waiting, which an autoscaler counts as demand."""
_NODES_LOST = 3
"""How often Ray restarts a task whose node or process was lost."""
_LOOK = 1.0
"""Seconds between checks of the cluster while no task ends."""


class RayExecutor(Executor):
    """Runs tasks on the nodes of a Ray cluster. Their results go to a shared store, their outcomes to the driver."""

    name: ClassVar[str] = "ray"

    def __init__(self, options: ExecutorOptions) -> None:
        """StartError without a store that the nodes can write to, and without Ray."""
        if options.store is None and options.address != cluster.LOCAL:
            raise StartError(
                "--executor ray: the nodes cannot write into this work folder; name a store that all of them reach: "
                "--store s3://bucket/prefix, or a folder that all of them share"
            )
        self._options = options
        self._ray: Any = cluster.imported()
        self._undo = contextlib.ExitStack()
        self._state: Any = None

    def __enter__(self) -> Self:
        """Connect; StartError if there is no cluster."""
        self._state = self._undo.enter_context(cluster.connected(self._ray, self._options))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect; the cluster ends tasks that are still running."""
        self._undo.close()

    @property
    def pace(self) -> Pace | None:
        """The pace of the whole cluster."""
        return ClusterPace(self._state)

    def run(self, setup: WorkerSetup, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """See `Executor.run`."""
        from filterzoo_plugins.executors.ray.node import Job  # noqa: PLC0415  # loads what workers need

        own = Path(setup.fragments_url) if "://" not in setup.fragments_url else None
        job = Job(replace(cluster.travelled(setup), device=self._device(setup)))
        watch = Watch(self._ray, self._state, self._options.on_running)
        run = _Run(self._ray, self._state, job, watch, workers=self._options.workers, fragments=own)
        try:
            yield from run.outcomes(Batches(tasks))
        finally:
            run.cancel()

    def _device(self, setup: WorkerSetup) -> Any:
        if setup.device == "cuda" and not cluster.gpus(self._ray):
            raise StartError("--device cuda: no node of the cluster has a GPU that Ray knows of")
        return "cuda" if setup.device != "cpu" and cluster.gpus(self._ray) else "cpu"


class _Run:
    """One run of a job. workers: most batches in flight. fragments: the store's folder, if it is a local one."""

    def __init__(
        self, ray: Any, state: Any, job: Job, watch: Watch, *, workers: int | None, fragments: Path | None
    ) -> None:
        from filterzoo_plugins.executors.ray.node import take  # noqa: PLC0415  # loads what workers need

        self._ray = ray
        self._state = state
        self._job = job
        self._workers = workers
        self._fragments = fragments
        self._watch = watch
        self._take = ray.remote(take)
        self._pending: dict[Any, Batch] = {}
        self._numbers: dict[Any, int] = {}
        self._again: deque[Batch] = deque()

    def outcomes(self, batches: Batches) -> Iterator[tuple[Task, Outcome]]:
        """One for each task, in order of completion."""
        gpus = GPU_SHARE if self._job.setup.device == "cuda" else 0.0
        cores = most = 0
        last_look = float("-inf")
        while True:
            if time.monotonic() >= last_look + _LOOK:  # nodes come and go
                cores, most = cluster.cores(self._ray), cluster.largest_memory(self._ray)
                last_look = time.monotonic()
                self._watch.look()
            needs = Needs(memory=min(BASE, most) if most else BASE, gpus=gpus)
            while len(self._pending) < (self._workers or max(2, _AHEAD * cores)):
                batch = self._again.popleft() if self._again else None
                batch = batch or batches.draw(needs, are_busy=len(self._pending) >= max(1, cores))
                if batch is None:
                    break
                self._submit(batch)
            if not self._pending:
                return
            try:
                ready, _ = self._ray.wait(list(self._pending), timeout=_LOOK)
            except SystemError as error:  # Ray's compiled code wraps the exception of a signal handler
                if isinstance(error.__cause__, Stopped):
                    raise error.__cause__ from None
                raise
            for reference in ready:
                self._watch.ended(self._numbers.pop(reference))
                yield from self._ended(reference, self._pending.pop(reference), most)

    def cancel(self) -> None:
        """Cancel all batches in flight."""
        for reference in self._pending:
            self._ray.cancel(reference, force=True)
        self._pending.clear()

    def _submit(self, batch: Batch) -> None:
        number = self._watch.submitted(len(batch.tasks))
        reference = self._remote(batch.needs, _NODES_LOST).remote(
            self._job, list(batch.tasks), batch.needs.layer_bytes, self._state, number
        )
        self._pending[reference] = batch
        self._numbers[reference] = number

    def _remote(self, needs: Needs, retries: int) -> Any:
        """`take` with its resources. An exception of a worker is an outcome: only lost tasks are retried."""
        return self._take.options(
            num_cpus=1, memory=needs.memory, num_gpus=needs.gpus, max_retries=retries, retry_exceptions=False
        )

    def _ended(self, reference: Any, batch: Batch, most: int) -> Iterator[tuple[Task, Outcome]]:
        """The outcomes of a batch that ended; if its process was lost repeatedly, each task is retried alone."""
        try:
            report: BatchResult = self._ray.get(reference)
        except self._lost():
            for task in batch.tasks:
                yield task, self._alone(task, batch.needs)
            return
        except self._ray.exceptions.RuntimeEnvSetupError as error:
            raise StartError(
                f"--executor ray: a node cannot set the job up: {' '.join(str(error).split())[:300]}"
            ) from error
        if report.fatal:
            raise StorageFailed(report.fatal)
        for place, layer in report.larger:
            self._again.append(Batch((batch.tasks[place],), batch.needs.larger(layer, most)))
        for place, outcome in report.outcomes:
            self._check_stored(outcome, report)
            yield batch.tasks[place], outcome

    def _alone(self, task: Task, needs: Needs) -> Outcome:
        """Retry a task of a lost process alone: only the one that killed it fails again."""
        remote = self._remote(needs, 0)
        for _ in range(_NODES_LOST):
            try:
                report: BatchResult = self._ray.get(remote.remote(self._job, [task], None, self._state, is_alone=True))
            except self._ray.exceptions.NodeDiedError:
                continue
            except self._lost():
                break
            if report.fatal:
                raise StorageFailed(report.fatal)
            ((_, outcome),) = report.outcomes
            self._check_stored(outcome, report)
            return outcome
        stage = self._ray.get(self._state.stage.remote())
        detail = "the worker process died of it, alone; perhaps the node has too little memory for it"
        return task.ledger_entry(stage, Refused(Reason.CRASHED, detail))

    def _lost(self) -> tuple[type[Exception], ...]:
        """Ray's exceptions for a lost process, node or result."""
        errors = self._ray.exceptions
        return (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        )

    def _check_stored(self, outcome: Outcome, report: BatchResult) -> None:
        """StorageFailed if a node wrote to a local folder with the store's path."""
        if self._fragments is None or not isinstance(outcome, Done):
            return
        name = outcome.layers_fragment
        if not (self._fragments / name[:2] / f"{name}.arrow").exists():
            raise StorageFailed(
                f"node {report.node} has written to {self._fragments}, and nothing is here: all nodes must share it; "
                "name another --store"
            )
