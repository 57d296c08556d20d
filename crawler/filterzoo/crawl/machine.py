"""How many workers this machine takes: its cores and memory, as far as this process may have them."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

LOCAL = "local"
"""The executor of this machine."""
WORKER_MEMORY = 1_000_000_000
"""Bytes to have for each worker: it takes 130 MB, and its largest layers two or three times."""
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def default_workers() -> int:
    """One a core, and no more than memory is there for; at least one."""
    memory = free_memory()
    return max(1, cores() if memory is None else min(cores(), memory // WORKER_MEMORY))


def cores() -> int:
    """Cores that this process may use: what it is bound to, and what a container's quota gives, rounded up."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text("ascii").split()
        if quota != "max":
            return max(1, min(bound, -(-int(quota) // int(period))))
    return bound


def free_memory() -> int | None:
    """Bytes that can be had without swapping, in a container no more than it still may; None where nothing says it."""
    found = [bytes_ for bytes_ in (_available(), _left_of_container()) if bytes_ is not None]
    return min(found, default=None)


def _available() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return None


def _left_of_container() -> int | None:
    """Pages of files count as used there, and are given back when memory is wanted."""
    with contextlib.suppress(OSError, ValueError):
        most = int((_CGROUP / "memory.max").read_text("ascii"))  # "max" is no number
        used = int((_CGROUP / "memory.current").read_text("ascii"))
        lines = (_CGROUP / "memory.stat").read_text("ascii").splitlines()
        files = sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
        return max(0, most - used + files)
    return None


KEPT_MEMORY = 256_000_000
"""Bytes of freed memory that a worker keeps, and its forks after it."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
"""Options of glibc's `mallopt`, as malloc.h numbers them."""
_MOST_MMAP_THRESHOLD = 32 << 20
_NEVER = (1 << 31) - 1


def keep_freed_memory(*, all_of_it: bool = False) -> None:
    """Let this process keep what it frees for the next layer, in place of giving it back: 256 MB, or all of it.

    The kernel clears each page that it gives: a tenth of the CPU time of a crawl, and of a network's forward pass.
    Nothing happens without glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)  # or each thread would keep its own
        if all_of_it:
            mallopt(_M_MMAP_MAX, 0)  # arrays of any size come from what was kept
            mallopt(_M_TRIM_THRESHOLD, _NEVER)
        else:
            mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
            mallopt(_M_TRIM_THRESHOLD, KEPT_MEMORY)
