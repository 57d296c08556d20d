"""Starts worker processes: on Linux as forks of a fork server, which has imported everything and run nothing.

The measuring loops are loaded or compiled once for all workers, and so is torch if it is needed. On other systems forks
are unsafe or unavailable, and each worker imports everything.
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

PRELOADED = ("filterzoo.crawl.processes.preloaded",)
"""Modules of a worker's start."""
_FOR_ARCHITECTURES = ("filterzoo.architectures.architecture",)
"""Modules that are loaded too if a source builds architectures: they import torch."""
_OUR_PLUGINS = "filterzoo_plugins."
_LOCAL_FILES = "source:local"
_NETWORK_MODULES = ("filterzoo.network.connections", "filterzoo.network.files.probing")
_BUILDERS = "filterzoo.architectures"
"""Entry points named after sources that may build architectures, or after a source, a dot and the key that it needs."""


def may_start_early(manifests: Iterable[Path]) -> bool:
    """Whether `start` may be called before the manifests are parsed: no source in them builds architectures.

    False if `may_name` cannot tell; then workers start half a second later.
    """
    named = may_name(manifests)
    points = importlib.metadata.entry_points(group=_BUILDERS)
    return not any(all(map(named, point.name.split("."))) for point in points)


def start(sockets: Path | None, *, builds_architectures: bool = False, plugins: Iterable[str] = ()) -> bool:
    """Start the fork server if it is not running, without waiting for it. False if there is none.

    sockets: folder for its socket; None for the system's folder of temporary files. plugins: modules to load in it, see
    `plugins_of`.
    """
    if sys.platform != "linux":
        return False
    forkserver.set_forkserver_preload([*PRELOADED, *_FOR_ARCHITECTURES * builds_architectures, *plugins])
    try:
        resource_tracker.ensure_running()  # its start unblocks signals, so it must come first
        with contextlib.nullcontext() if sockets is None else _socket_in(sockets), _held_interrupts():
            forkserver.ensure_running()
    except OSError:  # its socket cannot be created: a full disk, or a file system without sockets
        return False
    return True


def plugins_of(manifests: Sequence[Path], plugins: Iterable[PluginReference]) -> list[str]:
    """The modules of built-in plugins that workers need, and the network modules unless all files are local.

    Other plugins may start threads or open files when they are imported, which a fork would share.
    """
    is_used = named_in(manifests)
    ours = [one for one in plugins if one.module.startswith(_OUR_PLUGINS) and one.offers is not None]
    used = [one for one in ours if any(map(is_used, one.offers or ()))]
    has_network = any(one.offers != (_LOCAL_FILES,) for one in used)
    return [*(one.module for one in used), *_NETWORK_MODULES * has_network]


def context(
    sockets: Path | None = None, *, builds_architectures: bool = False, plugins: Iterable[str] = ()
) -> BaseContext:
    """The multiprocessing context for workers and their shared objects."""
    has_server = start(sockets, builds_architectures=builds_architectures, plugins=plugins)
    return multiprocessing.get_context("forkserver" if has_server else "spawn")


@contextlib.contextmanager
def _held_interrupts() -> Iterator[None]:
    """Block Ctrl-C in the block, and in the new process, which inherits this, until it ignores the signal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _socket_in(sockets: Path) -> Iterator[None]:
    """Make multiprocessing create its socket in the work folder, where the next run removes it if this one is killed.

    A socket's path has at most 107 bytes, and a work folder's path may be longer. So the folder is named by a
    descriptor, which stays open until the process ends.
    """
    own = sockets / str(os.getpid())
    if own.is_dir():
        yield
        return
    own.mkdir(parents=True)
    # Runs after multiprocessing's own finalizer (priority -100), which removes its subfolder.
    util.Finalize(None, shutil.rmtree, (own,), {"ignore_errors": True}, exitpriority=-200)
    folder = os.open(own, os.O_RDONLY | os.O_DIRECTORY)
    before, tempfile.tempdir = tempfile.tempdir, f"/proc/self/fd/{folder}"
    try:
        yield
    finally:
        tempfile.tempdir = before
