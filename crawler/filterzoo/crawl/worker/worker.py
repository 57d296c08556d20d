"""A worker: processes one checkpoint at a time; all of its layers are stored, or none."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from filterzoo.architectures.context import DescribedFile, is_known, with_architecture
from filterzoo.crawl.accepted import Accepted, count_filters, decide, with_functions
from filterzoo.crawl.budget import cpu_clock, largest_layer
from filterzoo.crawl.discovery import checked, open_sources
from filterzoo.crawl.processes.cores import Cores, at_once, measured
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.crawl.worker.opening import opened
from filterzoo.crawl.worker.published_hashes import published_hashes
from filterzoo.crawl.worker.reading import CheckedLayers, check_size, checked_layers
from filterzoo.errors import (
    Reason,
    Refused,
    Stage,
    StorageFailed,
    describe,
    line_of,
    plugin_error,
    raise_disk_trouble,
)
from filterzoo.files import RandomAccessFile
from filterzoo.jail import Jail
from filterzoo.measures.measure import Measurer
from filterzoo.network.door import Door
from filterzoo.network.health import HostHealth
from filterzoo.network.pace import Pace
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.plugins import load, named_in
from filterzoo.records import Checkpoint, Index
from filterzoo.source import Source
from filterzoo.store.filters import axes_of
from filterzoo.store.fragments import FragmentStore, FragmentWriter

_WAITS = 8
"""Most files being opened, and most checkpoints being synced, while another checkpoint is measured."""
_STORED_LATER = 1 << 16
"""Most filters of a checkpoint that is stored while others are measured; this bounds the memory."""
Result = TypeVar("Result")
Open = Callable[[], RandomAccessFile]
Store = Callable[[Callable[[], Done]], "Future[Done]"]
"""Runs the function that stores a checkpoint, now or in another thread."""


class NeedsMemory(Exception):
    """Raised by a worker for a checkpoint with a layer larger than `layer_bytes`; the checkpoint is not stored.

    needed: memory of that layer with its inputs, in bytes.
    """

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


class Worker:
    """A worker: sources, jail, measurer and store, used for one checkpoint after another."""

    def __init__(
        self,
        setup: WorkerSetup,
        on_stage: Callable[[Stage], None] | None = None,
        cores: Cores | None = None,
        *,
        pace: Pace | None = None,
    ) -> None:
        """`on_stage` is called with every stage that a checkpoint enters. cores: shared with other workers.

        pace: see `Door`.
        """
        plugins = load(setup.plugins, named_in(setup.manifests))
        health = None if setup.hosts is None else HostHealth(setup.hosts)
        with contextlib.ExitStack() as undo:
            self._jail = undo.enter_context(Jail(plugins.format_references))
            self._jail.start()
            self._door = Door(setup.cache, allow_private=setup.allow_private, pace=pace, health=health)
            undo.callback(self._door.close)
            self._sources = open_sources(setup.manifests, plugins, self._door, setup.folders)
            self._measurer = Measurer(setup.device)
            self._store = FragmentStore(setup.fragments_url, setup.scratch)
            self._close = undo.pop_all().close
        self._scratch = setup.scratch
        self._on_stage = on_stage or (lambda _: None)
        # Layers use a GPU one after the other.
        self._cores = cores if cores is not None and self._measurer.device == "cpu" else Cores()

    def close(self) -> None:
        """End the jail's child and close connections."""
        self._close()

    def take(self, task: Task, layer_bytes: int | None = None) -> Done | LedgerEntry:
        """Process one checkpoint up to the store, or return why it failed. StorageFailed when the store itself fails.

        A checkpoint that changed while it was read is restarted once; after another change the next run retries it.
        layer_bytes: NeedsMemory if a layer takes more; None for the manifest's limit.
        """
        with self._cores.own():
            return self._outcome(self._begin(task, layer_bytes))

    def take_all(self, tasks: Sequence[Task]) -> list[Done | LedgerEntry]:
        """As `take`, for several small checkpoints, with overlapping waits.

        While one is measured, the files of the next ones are opened and the fragments of the previous ones are synced.
        Each outcome is returned after its checkpoint is synced.
        """
        if len(tasks) == 1:
            return [self.take(tasks[0])]
        with (
            self._cores.own(),
            ThreadPoolExecutor(_WAITS, "filterzoo-store") as stores,
            ThreadPoolExecutor(_WAITS, "filterzoo-open") as opens,
            contextlib.ExitStack() as unread,
        ):
            later: Store = stores.submit if self._store.root is not None else at_once
            files = [self._opened_ahead(task, opens, unread) for task in tasks]
            attempts = [self._begin(task, None, file, later) for task, file in zip(tasks, files, strict=True)]
            return [self._outcome(attempt) for attempt in attempts]

    def _opened_ahead(self, task: Task, opens: ThreadPoolExecutor, unread: contextlib.ExitStack) -> Open:
        """Open the task's file now in another thread, if its source allows it; `unread` closes files not taken."""
        source = self._sources[task.source_number].source
        if not (source.opens_in_threads or type(source).open is Source.open):
            return self._opener(task)
        ahead = _OpeningFile(opens.submit(self._opener(task)))
        unread.callback(ahead.close)
        return ahead.take

    def _opener(self, task: Task) -> Open:
        return partial(self._sources[task.source_number].source.open, task.checkpoint.artifacts[0])

    def _begin(
        self, task: Task, layer_bytes: int | None, file: Open | None = None, store: Store = at_once
    ) -> _Measured | LedgerEntry:
        """Measure the checkpoint; `store` runs the rest."""
        attempt = self._attempt(task, layer_bytes, file or self._opener(task), store)
        changed = isinstance(attempt, LedgerEntry) and attempt.reason is Reason.CHANGED
        return self._attempt(task, layer_bytes, self._opener(task), store) if changed else attempt

    def _outcome(self, attempt: _Measured | LedgerEntry) -> Done | LedgerEntry:
        """Wait until the checkpoint is stored; its outcome."""
        if isinstance(attempt, LedgerEntry):
            return attempt
        return self._refusing(attempt.task, attempt.progress, attempt.stored.result)

    def _attempt(self, task: Task, layer_bytes: int | None, file: Open, store: Store) -> _Measured | LedgerEntry:
        progress = _Progress(self._on_stage)
        stored = self._refusing(task, progress, partial(self._process, task, progress, layer_bytes, file, store))
        return stored if isinstance(stored, LedgerEntry) else _Measured(task, progress, stored)

    def _refusing(self, task: Task, progress: _Progress, work: Callable[[], Result]) -> Result | LedgerEntry:
        """The result of `work`, or why the checkpoint failed. StorageFailed when the store itself fails."""
        try:
            return work()
        except NeedsMemory:
            raise
        except Refused as refusal:
            return progress.entry(task, refusal)
        except StorageFailed:
            raise
        except OSError as error:
            raise_disk_trouble(error, "the store")
            return progress.entry(task, Refused(Reason.CRASHED, describe(error)))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # a checkpoint that breaks anything must not end the run
            reason = Reason.PLUGIN_ERROR if progress.stage is Stage.FETCH else Reason.CRASHED
            where = line_of(error, self._sources[task.source_number].source.__class__)
            return progress.entry(task, Refused(reason, describe(error), where))

    def _process(
        self, task: Task, progress: _Progress, layer_bytes: int | None, open_file: Open, store: Store
    ) -> Future[Done]:
        """Open, index and measure the checkpoint; `store` runs the rest."""
        with contextlib.ExitStack() as stack:
            whole = stack.enter_context(open_file())
            accepted = self._accepted(task, progress, layer_bytes, whole, stack)
            with (
                contextlib.ExitStack() as writing,
                cpu_clock(task.settings.budget.seconds_for(accepted.index)),
            ):
                axes = axes_of(accepted.checkpoint, str(accepted.licence.licence_class))
                fragment = writing.enter_context(self._store.writer(accepted.kernels, axes, accepted.filters))
                integrity = self._measure(task, progress, accepted, fragment)
                progress.enter(Stage.STORE)
                if sum(accepted.filters.values()) > _STORED_LATER:
                    store = at_once
                finish = partial(_finished, writing.pop_all(), fragment, accepted.done(integrity), task.settings.key)
                stored = store(finish)
                if stored.done():
                    stored.result()  # raises the exception of the clock
            return stored

    def _accepted(
        self,
        task: Task,
        progress: _Progress,
        layer_bytes: int | None,
        whole: RandomAccessFile,
        stack: contextlib.ExitStack,
    ) -> Accepted:
        """The checkpoint's index and licence; Refused if these or the manifest forbid to read its weights.

        stack: closes the opened files.
        """
        artifact = task.checkpoint.artifacts[0]
        # If the source opens the member itself, it is unknown which file the stated hash is of.
        source_opens_member = self._sources[task.source_number].source.opens_members and artifact.member is not None
        check_size(whole.size, task.settings.max_bytes)
        progress.enter(Stage.INDEX)
        member = None if source_opens_member else artifact.member
        found = opened(whole, artifact.name, self._jail, self._scratch, member, most=task.settings.max_bytes)
        file, index = stack.enter_context(found)
        described = self._described(task, index)
        index = replace(index, convolutions=described.tensors)
        licence, weights_allowed = decide(task, index)
        filters = count_filters(index, task.settings)
        kernels = task.settings.kernels if weights_allowed else frozenset[str]()
        task.settings.budget.check(index, kernels)
        if layer_bytes is not None and (needed := largest_layer(index)) > layer_bytes:
            raise NeedsMemory(needed)
        return Accepted(
            task=task,
            checkpoint=with_functions(self._with_name(task), described),
            whole=whole,
            file=file,
            index=index,
            licence=licence,
            weights_allowed=weights_allowed,
            filters=filters,
            kernels=kernels,
            published={} if source_opens_member else published_hashes(task.checkpoint.artifacts),
        )

    def _measure(self, task: Task, progress: _Progress, accepted: Accepted, fragment: FragmentWriter) -> str:
        """Write the measured layers to `fragment`; returns the integrity: the kinds of checksums that were compared."""
        progress.enter(Stage.NORMALISE)
        with checked_layers(
            accepted.whole,
            accepted.file,
            accepted.index,
            scratch=self._scratch,
            published=accepted.published,
            verify=task.settings.verify_sha256,
            cache=self._door.cache,
            most=task.settings.max_bytes,
        ) as layers:
            self._fill(fragment, layers, progress)
        return layers.integrity

    def _with_name(self, task: Task) -> Checkpoint:
        """The checkpoint with the architecture's name, if its source finds it in a file."""
        checkpoint = task.checkpoint
        if checkpoint.architecture is not None:
            return checkpoint
        source = self._sources[task.source_number].source
        with _asking("architecture_name", source):
            name = source.architecture_name(checkpoint)
            return checked(replace(checkpoint, architecture=name), checkpoint.source)

    def _described(self, task: Task, index: Index) -> DescribedFile:
        """Replace inferred metadata with the architecture's, if its source knows it."""
        if is_known(index.convolutions):
            return DescribedFile(index.convolutions)
        source = self._sources[task.source_number].source
        with _asking("architectures", source):
            architectures = source.architectures(task.checkpoint)
            return with_architecture(index.convolutions, architectures)

    def _fill(self, fragment: FragmentWriter, layers: CheckedLayers, progress: _Progress) -> None:
        """Read, measure and encode the layers, in parallel if cores are free."""
        with self._cores.threads() as threads:
            added: Future[None] | None = None
            for layer, measure in measured(layers, self._measurer.measure, threads, progress.enter):
                if added is not None:
                    added.result()
                added = threads.run(partial(fragment.add, layer, measure))
                del layer, measure  # free the weights before the next layer is read
            progress.enter(Stage.MEASURE)
            if added is not None:
                added.result()


@dataclass(frozen=True, slots=True)
class _Measured:
    """A measured checkpoint that is being stored."""

    task: Task
    progress: _Progress
    stored: Future[Done]


class _OpeningFile:
    """A file that another thread opens."""

    def __init__(self, opening: Future[RandomAccessFile]) -> None:
        self._opening: Future[RandomAccessFile] | None = opening

    def take(self) -> RandomAccessFile:
        """The file, which the caller closes; raises what `open` raised."""
        opening, self._opening = self._opening, None
        if opening is None:
            raise RuntimeError("a file that was opened ahead is taken once")
        return opening.result()

    def close(self) -> None:
        """Close the file if it was not taken."""
        if self._opening is not None and not self._opening.cancel():
            with contextlib.suppress(Exception):
                self._opening.result().close()


def _finished(writing: contextlib.ExitStack, fragment: FragmentWriter, done: Done, settings: str) -> Done:
    """The record of a checkpoint, once its fragments are durable in the store; closes `writing`."""
    with writing:
        layers_fragment, filters_fragment = fragment.finish(done, settings)
    return replace(done, layers_fragment=layers_fragment, filters_fragment=filters_fragment)


class _Progress:
    """The current stage of a checkpoint, for the ledger."""

    def __init__(self, on_stage: Callable[[Stage], None]) -> None:
        self._on_stage = on_stage
        self.enter(Stage.FETCH)

    def enter(self, stage: Stage) -> None:
        self.stage = stage
        self._on_stage(stage)

    def entry(self, task: Task, refusal: Refused) -> LedgerEntry:
        return task.ledger_entry(self.stage, refusal)


@contextlib.contextmanager
def _asking(method: str, source: Source) -> Iterator[None]:
    """A context for calls of a source: exceptions other than Refused become a refusal of the checkpoint."""
    try:
        yield
    except Refused:
        raise
    except Exception as error:  # a plugin may raise anything; it is named and the run goes on
        raise plugin_error(source.name, f"{method}()", error, type(source)) from error
