"""Executors run tasks on one machine or many: the protocol, and the selection by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ClassVar, Protocol, Self, runtime_checkable

from filterzoo.errors import FilterZooError, StartError
from filterzoo.network.pace import Pace
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.references import PluginReference

if TYPE_CHECKING:
    from filterzoo.crawl.task import Task, WorkerSetup

Outcome = Done | LedgerEntry


@dataclass(frozen=True, slots=True)
class Running:
    """The checkpoints in progress.

    nodes: machine -> the names of the checkpoints that it reads. waiting: submitted checkpoints that no machine has
    started.
    """

    nodes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    waiting: int = 0


def show_nothing(_running: Running) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOptions:
    """Options of an executor from the command line. workers: tasks in parallel; None: the executor's choice.

    address: of a cluster; None if the executor finds one itself or needs none. store: the shared store of fragments;
    None if it is in the work folder. manifests, plugins: the files of this machine that workers need. on_running: an
    executor on several machines calls it about once a second, in the crawl's own process.
    """

    workers: int | None = None
    address: str | None = None
    store: str | None = None
    manifests: tuple[Path, ...] = ()
    plugins: tuple[PluginReference, ...] = ()
    on_running: Callable[[Running], None] = show_nothing


class Executor(Protocol):
    """Runs tasks. A plugin offers one through the hook `filterzoo_executors`; it may inherit from this class.

    It is constructed with the options, entered before discovery, and exited when the run ends, also after an error.
    Both the constructor and `__enter__` raise StartError if it cannot start.
    """

    name: ClassVar[str]
    """The value of `--executor`."""

    def __init__(self, options: ExecutorOptions) -> None: ...

    def __enter__(self) -> Self:
        """Connect to the machines that run tasks."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel running tasks, and disconnect."""

    @property
    def pace(self) -> Pace | None:
        """The rate limiter shared by all workers; None for one through files in the cache's folder."""
        return None

    def run(self, setup: WorkerSetup, tasks: Iterable[Task]) -> Iterator[tuple[Task, Outcome]]:
        """One outcome for each task, in order of completion; tasks are drawn lazily. StorageFailed ends the run.

        A worker calls `Worker(setup).take(task)` of `filterzoo.crawl.worker.worker`.
        The paths in `setup` are this machine's.
        """
        ...


@runtime_checkable
class RunsGroups(Protocol):
    """An executor that returns several outcomes together; they are recorded in one transaction, with one disk sync."""

    def run_groups(self, setup: WorkerSetup, tasks: Iterable[Task]) -> Iterator[list[tuple[Task, Outcome]]]:
        """As `Executor.run`; outcomes that arrive together are one list."""
        ...


def chosen(
    name: str,
    offered: Mapping[str, Callable[[ExecutorOptions], Executor]],
    options: ExecutorOptions,
    known: Iterable[str] = (),
    failures: Sequence[LedgerEntry] = (),
) -> Executor:
    """The executor of that name, not entered yet; StartError if there is none.

    known: names of executors, also of plugins that were not imported. failures: of plugins that did not load, since one
    of them may offer it.
    """
    if name not in offered:
        names = sorted({*offered, *known})
        close = difflib.get_close_matches(name, names, 1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        broken = "".join(f"; plugin {one.plugin} did not load: {one.detail}" for one in failures)
        raise StartError(f"--executor {name}: there are {', '.join(names)}{meant}{broken}")
    return offered[name](options)


def outcomes(executor: Executor, setup: WorkerSetup, tasks: Iterable[Task]) -> Iterator[list[tuple[Task, Outcome]]]:
    """The outcomes of `Executor.run`, in groups as they arrive; FilterZooError unless there is one for each task.

    Executors come from plugins: a lost task must not look like a finished run.
    """
    submitted = returned = 0

    def counted() -> Iterator[Task]:
        nonlocal submitted
        for task in tasks:
            submitted += 1
            yield task

    if isinstance(executor, RunsGroups):
        groups = executor.run_groups(setup, counted())
    else:
        groups = ([one] for one in executor.run(setup, counted()))
    for group in groups:
        for _task, outcome in group:
            if not isinstance(outcome, Outcome):
                raise FilterZooError(
                    f"--executor {executor.name}: gave a {type(outcome).__name__}, which is no outcome"
                )
        returned += len(group)
        yield group
    if returned != submitted:
        raise FilterZooError(
            f"--executor {executor.name}: {returned} outcomes for {submitted} tasks; run the same command again"
        )
