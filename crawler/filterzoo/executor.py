"""Runs tasks in worker processes on this machine; a worker that dies costs the checkpoint it died of, no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from filterzoo.discovery import Task
from filterzoo.errors import Reason, Refused
from filterzoo.line import Line, LineSetup
from filterzoo.outcome import Done, LedgerEntry

Outcome = Done | LedgerEntry

_AHEAD = 2
"""Tasks drawn for each worker: one it works on, one that waits."""

_line_of_this_worker: list[Line] = []
"""Filled by `_start_worker` in a worker process, where a pool gives no other place for it; empty everywhere else."""


class LocalExecutor:
    """A pool of `workers` processes, each with its own jail and measurer and one thread of arithmetic."""

    def __init__(self, setup: LineSetup, workers: int) -> None:
        self._setup = setup
        self._workers = workers

    def run(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """Outcomes as they come; tasks are drawn lazily. StorageFailed passes: it ends the run."""
        remaining = iter(tasks)
        pool: ProcessPoolExecutor | None = None
        pending: dict[Future[Outcome], Task] = {}
        try:
            while True:
                suspects: list[Task] = []
                while len(pending) < _AHEAD * self._workers and (task := next(remaining, None)) is not None:
                    pool = pool or self._pool(self._workers)
                    try:
                        pending[pool.submit(_take, task)] = task
                    except BrokenProcessPool:
                        suspects.append(task)
                        break
                if not pending and not suspects:
                    return
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    task = pending.pop(future)
                    try:
                        yield task, future.result()
                    except BrokenProcessPool:
                        suspects.append(task)
                if suspects:
                    suspects += pending.values()
                    pending.clear()
                    pool = None
                    for suspect in suspects:
                        yield suspect, self._run_alone(suspect)
        finally:
            if pool is not None:
                pool.shutdown(cancel_futures=True)

    def _run_alone(self, task: Task) -> Outcome:
        """One of the tasks that were running when a worker died: alone, it shows whether it was the one."""
        with self._pool(1) as pool:
            try:
                return pool.submit(_take, task).result()
            except BrokenProcessPool:
                detail = "the worker process died of it, alone; perhaps this machine has too little memory for it"
                return task.ledger_entry("measure", Refused(Reason.CRASHED, detail))

    def _pool(self, workers: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(self._setup,))


def _start_worker(setup: LineSetup) -> None:
    """One thread of arithmetic a worker: the same bytes for any number of workers, and no fight for cores."""
    import torch  # noqa: PLC0415  # the driver never loads it

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver hears it and ends the pool
    threading.Thread(target=_end_with_the_driver, daemon=True).start()
    torch.set_num_threads(1)
    _line_of_this_worker[:] = [Line(setup)]


def _end_with_the_driver() -> None:
    """A worker whose driver was killed would wait for a task for ever; nothing is lost when it stops anywhere."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        driver.join()
        os._exit(1)


def _take(task: Task) -> Outcome:
    return _line_of_this_worker[0].take(task)
