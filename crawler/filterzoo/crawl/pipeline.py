"""The stages of a crawl: discover, fetch, index, normalise, measure, store.

The last two stages, shard and publish, read what is stored here: `filterzoo_publish.release`.

    discover    filterzoo.crawl.discovery   manifests -> checkpoints, no weight fetched
    fetch       filterzoo.network.door      checkpoint -> random access to its bytes
    index       filterzoo.jail              untrusted bytes -> a table of spans, in a confined child process
    normalise   filterzoo.layers.normalise  spans -> layers, float32, (out, in/groups, *kernel)
    measure     filterzoo.measures.measure  layer -> its measures and sufficient statistics
    store       filterzoo.store.fragments   all layers of a checkpoint, or none; the journal says which

Fetch to store happen in a worker, for one checkpoint at a time: `filterzoo.crawl.worker.worker.Worker.take`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from filterzoo.crawl.discovery import OpenSource, discover, gate, named_sources, open_sources
from filterzoo.crawl.executor import Executor, ExecutorOptions, chosen, outcomes
from filterzoo.crawl.listing_progress import ListingProgress, ListingWatch, ignore
from filterzoo.crawl.priority import in_turn
from filterzoo.crawl.processes.local_executor import LocalExecutor
from filterzoo.crawl.processes.machine import LOCAL
from filterzoo.crawl.refreshing import settled
from filterzoo.crawl.run_limits import Allowance, RunLimits, with_free_space
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.measures.device import Device
from filterzoo.network.door import Door
from filterzoo.network.health import HostHealth
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.plugins import Plugins
from filterzoo.records import Checkpoint
from filterzoo.references import PluginReference
from filterzoo.reporting.summary import Summary, summarise
from filterzoo.store.journal import Journal
from filterzoo.store.shared_journal import opened_journal
from filterzoo.store.workfolder import WorkFolder

_NOTED_AT_ONCE = 1000
"""Results of discovery per transaction of the journal, because each transaction waits for the disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The arguments of `filterzoo crawl`.

    limit: the most checkpoints to look at. only: the name of a single source. executor: the name of the executor.
    """

    manifests: tuple[Path, ...]
    plugins: tuple[PluginReference, ...]
    work: WorkFolder
    cache: Path
    executor: str = LOCAL
    options: ExecutorOptions = field(default_factory=ExecutorOptions)
    device: Device = "auto"
    allow_private: bool = False
    limit: int | None = None
    only: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """The outcome of a checkpoint, or of a whole plugin; `is_new` is False if an earlier run settled it.

    changed: the facts about it that differ from the earlier run's.
    """

    outcome: Done | LedgerEntry | Task
    is_new: bool
    changed: tuple[str, ...] = ()


def crawl(
    order: Order,
    plugins: Plugins,
    on_event: Callable[[Event], None],
    limits: RunLimits | None = None,
    on_listing: Callable[[ListingProgress], None] = ignore,
) -> Summary:
    """Crawl what the manifests list and the work folder does not have; returns the state of the whole folder.

    limits: of this run; afterwards they tell what is left. on_listing: called with the progress of discovery.
    """
    limits = limits or RunLimits()
    watch = ListingWatch(on_listing, frozenset(failure.source for failure in plugins.failures))
    options = replace(order.options, store=order.work.store_url, manifests=order.manifests, plugins=order.plugins)
    executors: dict[str, Callable[[ExecutorOptions], Executor]] = {**plugins.executors, LOCAL: LocalExecutor}
    with (
        order.work as work,
        chosen(order.executor, executors, options, plugins.executor_names, plugins.failures) as executor,
        opened_journal(work) as (journal, copy_if_due),
        Door(
            order.cache,
            allow_private=order.allow_private,
            pace=executor.pace,
            health=HostHealth(work.hosts),
            on_document=watch.document,
        ) as door,
    ):
        sources = open_sources(order.manifests, plugins, door)
        journal.forget_plugin_failures()
        for failure in plugins.failures:
            _record(journal, failure, "")
            on_event(Event(failure, is_new=True))
        setup = WorkerSetup(
            manifests=order.manifests,
            plugins=order.plugins,
            fragments_url=work.fragments_url,
            scratch=work.scratch,
            cache=order.cache,
            device=order.device,
            allow_private=order.allow_private,
            hosts=work.hosts,
            builds_architectures=any(one.source.may_build_architectures for one in sources),
        )
        with closing(_tasks(order, sources, journal, on_event, watch)) as found:
            for group in outcomes(executor, setup, with_free_space(limits.within(found), work.path)):
                with journal.together():
                    for task, outcome in group:
                        limits.spent(task, outcome)
                        _record(journal, outcome, task.settings.key)
                for _task, outcome in group:
                    on_event(Event(outcome, is_new=True))
                copy_if_due()
        return summarise(journal)


def planned_sources(order: Order, plugins: Plugins) -> list[str]:
    """The sources that `dry_run` lists."""
    return [name for name in named_sources(order.manifests, plugins) if order.only in {None, name}]


def dry_run(
    order: Order,
    plugins: Plugins,
    on_listing: Callable[[ListingProgress], None] = ignore,
    *,
    asks_sizes: bool = False,
) -> Iterator[Task | LedgerEntry]:
    """The dry run: what `crawl` would process, and what it would skip at discovery.

    asks_sizes: ask servers for the sizes of files that zoos do not state, one request for each.
    """
    watch = ListingWatch(on_listing)
    with ExitStack() as stack:
        door = Door(order.cache, allow_private=order.allow_private, on_document=watch.document)
        sources = open_sources(order.manifests, plugins, stack.enter_context(door))
        sized = _sized(order, plugins, stack) if asks_sizes else None
        yield from plugins.failures
        for listed in islice(discover(sources, order.only), order.limit):
            found = sized(listed) if sized is not None and isinstance(listed, Task) else listed
            watch.found(found)
            yield found


def _sized(order: Order, plugins: Plugins, stack: ExitStack) -> Callable[[Task], Task | LedgerEntry]:
    """A function that gives a task the sizes of its files, or leaves it out if they are too large."""
    from filterzoo.reporting.file_sizes import SizeDoor, with_sizes  # noqa: PLC0415  # loads what speaks HTTP

    door = stack.enter_context(SizeDoor(order.cache, allow_private=order.allow_private))
    sources = open_sources(order.manifests, plugins, door)

    def sized(task: Task) -> Task | LedgerEntry:
        return gate(replace(task, checkpoint=with_sizes(task.checkpoint, sources[task.source_number].source)))

    return sized


def _tasks(
    order: Order, sources: list[OpenSource], journal: Journal, on_event: Callable[[Event], None], watch: ListingWatch
) -> Generator[Task, None, None]:
    """The tasks that are left to do, sources in turn; outcomes that need no work are recorded here.

    The blocks of one source stay in order: a checkpoint that several of them list has the settings of the first.
    """
    blocks = [one.source.name for one in sources if order.only in {None, one.source.name}]
    allowed = Allowance(order.limit)

    def left_to_do(only: str) -> Generator[Task, None, None]:
        listed = allowed.within(discover(sources, only, watch, is_alone=len(blocks) == 1))
        with closing(_noted(listed, journal)) as noted:
            for one in noted:
                watch.found(one)
                if isinstance(one, LedgerEntry):
                    on_event(Event(one, is_new=True))
                elif known := settled(journal, one, sources[one.source_number]):
                    on_event(Event(one, is_new=False, changed=known.changed))
                else:
                    yield one

    with ExitStack() as listings:
        yield from in_turn([listings.enter_context(closing(left_to_do(name))) for name in dict.fromkeys(blocks)])
    watch.record(journal)


def _noted(found: Iterable[Task | LedgerEntry], journal: Journal) -> Generator[Task | LedgerEntry, None, None]:
    """Pass everything on, and record in the journal what is listed and what is left out."""
    today = datetime.now(UTC).date().isoformat()
    listed: list[Checkpoint] = []
    refused: list[LedgerEntry] = []

    def write() -> None:
        journal.record_listed(listed, today)
        journal.record_refusals(refused)
        listed.clear()
        refused.clear()

    try:
        for one in found:
            if isinstance(one, Task):
                listed.append(one.checkpoint)
            elif one.id is None:
                journal.record_ledger(one)
            else:
                refused.append(one)
            if len(listed) + len(refused) == _NOTED_AT_ONCE:
                write()
            yield one
    finally:
        write()


def _record(journal: Journal, outcome: Done | LedgerEntry, settings: str) -> None:
    if isinstance(outcome, Done):
        journal.record_done(outcome, settings)
    else:
        journal.record_ledger(outcome, settings)
