"""How worker processes start: on Linux as forks of one process that has imported everything and done nothing with it.

The measuring loops are loaded, or compiled, once for all workers, and so is torch where it is needed. Elsewhere a fork
is not safe, or not to be had; then each worker imports all of it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import BaseContext
from pathlib import Path

from filterzoo.manifests.naming import may_name
from filterzoo.plugins import named_in
from filterzoo.references import PluginReference

PRELOADED = ("filterzoo.crawl.preloaded",)
"""Modules of a worker's start."""
_FOR_ARCHITECTURES = ("filterzoo.architectures.architecture",)
"""What is loaded besides where a source builds architectures: torch."""
_OUR_PLUGINS = "filterzoo_plugins."
_BUILDERS = "filterzoo.architectures"
"""Entry points named after sources that may build architectures."""


def may_start_early(manifests: Iterable[Path]) -> bool:
    """Whether `start` can come before the manifests are understood: they name no source that may build architectures.

    False too where `may_name` cannot tell: then workers start a second later.
    """
    named = may_name(manifests)
    return not any(named(point.name) for point in importlib.metadata.entry_points(group=_BUILDERS))


def start(sockets: Path | None, *, builds_architectures: bool = False, plugins: Iterable[str] = ()) -> bool:
    """Start that process if it does not run; it takes a moment, which nobody has to wait. False where there is none.

    sockets: where it may be reached; None for the system's folder of temporary files. plugins: modules that are loaded
    in it, see `plugins_of`.
    """
    if sys.platform != "linux":
        return False
    forkserver.set_forkserver_preload([*PRELOADED, *_FOR_ARCHITECTURES * builds_architectures, *plugins])
    try:
        resource_tracker.ensure_running()  # it ends the hold of signals when it starts
        with contextlib.nullcontext() if sockets is None else _socket_in(sockets), _held_interrupts():
            forkserver.ensure_running()
    except OSError:  # no place for its socket, such as a full disk or a file system that has none
        return False
    return True


def plugins_of(manifests: Sequence[Path], plugins: Iterable[PluginReference]) -> list[str]:
    """The modules of our own plugins that workers need.

    Others may start threads or open files when they are imported, which a fork would share.
    """
    is_used = named_in(manifests)
    ours = [one for one in plugins if one.module.startswith(_OUR_PLUGINS) and one.offers is not None]
    return [one.module for one in ours if any(map(is_used, one.offers or ()))]


def context(
    sockets: Path | None = None, *, builds_architectures: bool = False, plugins: Iterable[str] = ()
) -> BaseContext:
    """What makes worker processes, and what they share."""
    has_server = start(sockets, builds_architectures=builds_architectures, plugins=plugins)
    return multiprocessing.get_context("forkserver" if has_server else "spawn")


@contextlib.contextmanager
def _held_interrupts() -> Iterator[None]:
    """Ctrl-C waits meanwhile, here; in the new process, which inherits this, until it has been told to ignore it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _socket_in(sockets: Path) -> Iterator[None]:
    """multiprocessing puts its socket into the work folder, where the next run clears it away if this one is killed.

    The name of a socket has at most 107 bytes, and a work folder may lie deeper: so the folder is named by a
    descriptor, which stays open as long as the process.
    """
    own = sockets / str(os.getpid())
    if own.is_dir():
        yield
        return
    own.mkdir(parents=True)
    # Behind multiprocessing's own, of priority -100, which removes its folder in this one.
    util.Finalize(None, shutil.rmtree, (own,), {"ignore_errors": True}, exitpriority=-200)
    folder = os.open(own, os.O_RDONLY | os.O_DIRECTORY)
    before, tempfile.tempdir = tempfile.tempdir, f"/proc/self/fd/{folder}"
    try:
        yield
    finally:
        tempfile.tempdir = before
