"""Runs tasks in worker processes on this machine. When a worker dies, only the checkpoint that killed it fails."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from filterzoo.crawl.executor import Executor, ExecutorOptions, Outcome
from filterzoo.crawl.priority import TaskGroups
from filterzoo.crawl.processes import fork_server
from filterzoo.crawl.processes.cores import Cores, Semaphore
from filterzoo.crawl.processes.machine import LOCAL, cores, default_workers
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.errors import Reason, Refused, Stage, StartError

if TYPE_CHECKING:
    from filterzoo.crawl.worker.worker import Worker

_Alone = tuple[ProcessPoolExecutor, Future[list[Outcome]], BaseProcess | None]
_AHEAD = 2
"""Groups of tasks taken for each worker: one in progress, one waiting."""

_NOT_STARTED = (OSError, EOFError)
"""Exceptions at the start of a worker whose fork server was killed."""
_FORKS_ARE_GONE = 255
"""multiprocessing's exit code for a worker whose fork server was killed, so that its own code is lost."""
_ALONE = 5
"""Most runs of a task alone, if the fork server dies and not the worker."""
_STAGES = list(Stage)

_this_process: list[Worker] = []
"""Set by `_start_worker` in a worker process (pools offer no other place for state); empty in other processes."""


class LocalExecutor(Executor):
    """Pools of worker processes, each with its own jail and measurer; they share the machine's cores."""

    name = LOCAL

    def __init__(self, options: ExecutorOptions) -> None:
        """StartError for an address, because this executor uses no other machine."""
        if options.address is not None:
            raise StartError("--ray-address: is for --executor ray; the local executor has no address")
        self._workers = options.workers or default_workers()

    def run(self, setup: WorkerSetup, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """See `Executor.run`."""
        for group in self.run_groups(setup, tasks):
            yield from group

    def run_groups(self, setup: WorkerSetup, tasks: Iterable[Task]) -> Iterator[list[tuple[Task, Outcome]]]:
        """See `RunsGroups.run_groups`."""
        return _Run(setup, self._workers).outcomes(tasks)


class _Run:
    """One run with `workers` processes."""

    def __init__(self, setup: WorkerSetup, workers: int) -> None:
        self._setup = setup
        self._workers = workers

    def outcomes(self, tasks: Iterable[Task]) -> Iterator[list[tuple[Task, Outcome]]]:
        """One for each task, in order of completion."""
        groups = TaskGroups(tasks, self._workers)
        pool: ProcessPoolExecutor | None = None
        pending: dict[Future[list[Outcome]], list[Task]] = {}
        with contextlib.ExitStack() as running, _stopping_workers():
            while True:
                suspects: list[list[Task]] = []
                while len(pending) < _AHEAD * self._workers and (group := groups.take()):
                    if pool is None:
                        pool = self._pool(self._workers)
                        running.callback(pool.shutdown, cancel_futures=True)
                    try:
                        pending[pool.submit(_take, group)] = group
                    except (BrokenProcessPool, *_NOT_STARTED):
                        suspects.append(group)
                        break
                if not pending and not suspects:
                    return
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    group = pending.pop(future)
                    try:
                        yield groups.ended(group, future.result())
                    except BrokenProcessPool:
                        suspects.append(group)
                if suspects:
                    suspects += pending.values()
                    pending.clear()
                    running.close()
                    pool = None
                    yield from self._retry(suspects, groups)

    def _retry(self, suspects: list[list[Task]], groups: TaskGroups) -> Iterator[list[tuple[Task, Outcome]]]:
        """Rerun the tasks that were running when a worker died: groups are split, single tasks run alone."""
        for group in suspects:
            if len(group) > 1:
                groups.take_singly(group)
            else:
                yield [(group[0], self._run_alone(group[0]))]

    def _run_alone(self, task: Task) -> Outcome:
        """Rerun a task alone, after a worker died: only the task that killed the worker fails again.

        It is repeated if the fork server was killed meanwhile, which is not the task's fault.
        """
        for _ in range(_ALONE):
            reached = _StageCell(self._context())
            pool, future, worker = self._started_alone(task, reached)
            with pool, _stopping_workers():
                try:
                    return future.result()[0]
                except BrokenProcessPool:
                    pool.shutdown()
                    if worker is None or worker.exitcode == _FORKS_ARE_GONE:
                        continue
            detail = "the worker process died of it, alone; perhaps this machine has too little memory for it"
            return task.ledger_entry(reached.stage, Refused(Reason.CRASHED, detail))
        detail = f"the process that forks workers was killed {_ALONE} times; the next run tries it again"
        return task.ledger_entry(Stage.FETCH, Refused(Reason.CRASHED, detail))

    def _started_alone(self, task: Task, reached: _StageCell) -> _Alone:
        """A pool of one worker, its task, and the worker. Retried while the killed fork server has not fully exited."""
        import tenacity  # noqa: PLC0415  # where a worker died

        again = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_NOT_STARTED),
            stop=tenacity.stop_after_attempt(10),
            wait=tenacity.wait_fixed(0.2),
            reraise=True,
        )
        return again(self._start_alone, task, reached)

    def _start_alone(self, task: Task, reached: _StageCell) -> _Alone:
        before = set(multiprocessing.active_children())
        pool = self._pool(1, reached)
        future = pool.submit(_take, [task])
        return pool, future, next(iter(set(multiprocessing.active_children()) - before), None)

    def _pool(self, workers: int, reached: _StageCell | None = None) -> ProcessPoolExecutor:
        """A new pool, without processes yet. reached: shared memory in which its only worker records its stage."""
        context = self._context()
        free = (
            _free_cores(context) if reached is None else None
        )  # a task runs alone, so that its stage and memory are known
        arguments = (self._setup, reached, free)
        return ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=arguments)

    def _context(self) -> BaseContext:
        setup = self._setup
        plugins = fork_server.plugins_of(setup.manifests, setup.plugins)
        return fork_server.context(setup.sockets, builds_architectures=setup.builds_architectures, plugins=plugins)


@contextlib.contextmanager
def _stopping_workers() -> Iterator[None]:
    """Kill the workers if the run ends before its tasks: no checkpoint is stored partially."""
    try:
        yield
    except BaseException:
        for worker in multiprocessing.active_children():
            worker.kill()
        raise


class _StageCell:
    """The stage of a worker process, in shared memory that outlives it."""

    def __init__(self, context: BaseContext) -> None:
        self._number: Any = context.RawValue("B", _STAGES.index(Stage.FETCH))

    @property
    def stage(self) -> Stage:
        number: int = self._number.value
        return _STAGES[number]

    def enter(self, stage: Stage) -> None:
        """Called in the worker."""
        self._number.value = _STAGES.index(stage)


def _free_cores(context: BaseContext) -> Semaphore | None:
    """A semaphore of free cores; None if the system has no semaphores.

    Each pool has its own, because a killed worker cannot release its cores.
    """
    try:
        return context.Semaphore(cores())
    except (OSError, ImportError):
        return None


def _start_worker(setup: WorkerSetup, reached: _StageCell | None, free: Semaphore | None) -> None:
    """Start a worker. One thread measures a layer: equal bytes for any number of cores, and no oversubscription."""
    import threadpoolctl  # noqa: PLC0415  # the driver computes nothing

    from filterzoo.crawl.worker.worker import Worker  # noqa: PLC0415  # as above

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver receives it and shuts the pool down
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    threadpoolctl.threadpool_limits(1)
    _this_process[:] = [Worker(setup, None if reached is None else reached.enter, Cores(free))]


def _end_with_the_driver() -> None:
    """Exit if the driver is killed, because the worker would wait for tasks forever. Nothing is lost."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _take(tasks: Sequence[Task]) -> list[Outcome]:
    return _this_process[0].take_all(tasks)
