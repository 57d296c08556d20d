"""Spreads the layers of one checkpoint over cores that no other worker uses.

Every worker holds one core while it has a checkpoint. The other cores help workers with large checkpoints: at the end
of a crawl one checkpoint may use all cores. Each layer is measured by one thread, and layers are stored in order, so
that the bytes are the same for any number of cores.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from filterzoo.errors import Stage

if TYPE_CHECKING:
    from filterzoo.layers.layer import Layer, LayerMeasure  # the driver needs only the semaphore, not NumPy

WORTH_A_THREAD = 1 << 15
"""Size in elements of the smallest layer that is measured in another thread."""
IN_FLIGHT_BYTES = 256_000_000
"""Most bytes of layers in measurement while the next is read: memory is bounded by this and one layer."""
MOST_THREADS = 32
Result = TypeVar("Result")


class Semaphore(Protocol):
    """The interface of semaphores of `multiprocessing` and `threading`."""

    def acquire(self, block: bool = True, /) -> bool:  # noqa: FBT001, FBT002  # as they spell it
        """Acquire; without `block` only if that is possible at once."""
        ...

    def release(self) -> None:
        """Release."""


class Cores:
    """The cores of a machine, shared by its workers; without a semaphore each worker has one."""

    def __init__(self, free: Semaphore | None = None) -> None:
        self._free = free

    def take(self) -> bool:
        """Take a free core; False if there is none."""
        return self._free is not None and self._free.acquire(False)  # noqa: FBT003  # one calls it `block`, the other `blocking`

    def give_back(self) -> None:
        """Release a core."""
        if self._free is not None:
            self._free.release()

    @contextlib.contextmanager
    def own(self) -> Iterator[None]:
        """Hold the worker's own core, without waiting if others still use it."""
        is_taken = self.take()
        try:
            yield
        finally:
            if is_taken:
                self.give_back()

    @contextlib.contextmanager
    def threads(self) -> Iterator[Threads]:
        """Threads for free cores; all have ended at exit."""
        with ThreadPoolExecutor(MOST_THREADS, "filterzoo-layer") as pool:
            yield Threads(self, pool)


class Threads:
    """Runs functions in other threads while cores are free, otherwise in this one."""

    def __init__(self, cores: Cores, pool: ThreadPoolExecutor) -> None:
        self._cores = cores
        self._pool = pool

    def run(self, work: Callable[[], Result]) -> Future[Result]:
        """Start or run a function; its exception is raised by the future."""
        return self._pool.submit(self._given_back, work) if self._cores.take() else at_once(work)

    def _given_back(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        finally:
            self._cores.give_back()


def at_once(work: Callable[[], Result]) -> Future[Result]:
    """Run a function in this thread, with the interface of a thread pool."""
    future: Future[Result] = Future()
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001  # as a thread does: it is raised where the result is asked for
        future.set_exception(error)
    return future


def measured(
    layers: Iterable[Layer],
    measure: Callable[[Layer], LayerMeasure],
    threads: Threads,
    enter: Callable[[Stage], None],
) -> Iterator[tuple[Layer, LayerMeasure]]:
    """Each layer with its measures, in order; several are measured in parallel while the next is read.

    Exceptions are the same as in sequential order; `enter` is called with their stage.
    """
    waiting: deque[tuple[Layer, Future[LayerMeasure]]] = deque()
    in_flight = 0
    remaining = iter(layers)
    failure: Exception | None = None
    while True:
        enter(Stage.NORMALISE)
        try:
            layer = next(remaining)
        except StopIteration:
            break
        except Exception as error:  # noqa: BLE001  # raised when the layers before it are measured
            failure = error
            break
        enter(Stage.MEASURE)
        run = threads.run if layer.weights.size >= WORTH_A_THREAD else at_once
        waiting.append((layer, run(partial(measure, layer))))
        in_flight += layer.weights.nbytes
        del layer
        while waiting and (waiting[0][1].done() or in_flight > IN_FLIGHT_BYTES):
            first, future = waiting.popleft()
            in_flight -= first.weights.nbytes
            yield first, future.result()
            del first, future
    while waiting:
        enter(Stage.MEASURE)
        first, future = waiting.popleft()
        yield first, future.result()
        del first, future
    if failure is not None:
        enter(Stage.NORMALISE)
        raise failure
