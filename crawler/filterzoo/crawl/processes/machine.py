"""The number of workers for this machine, by the cores and memory that this process may use."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

LOCAL = "local"
"""The executor of this machine."""
WORKER_MEMORY = 1_000_000_000
"""Bytes of memory for each worker: 130 MB, and two or three times its largest layer."""
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def default_workers() -> int:
    """One per core, fewer if memory is short; at least one."""
    memory = free_memory()
    return max(1, cores() if memory is None else min(cores(), memory // WORKER_MEMORY))


def cores() -> int:
    """Cores that this process may use, by its CPU affinity and its container's quota, rounded up."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = (_CGROUP / "cpu.max").read_text("ascii").split()
        if quota != "max":
            return max(1, min(bound, -(-int(quota) // int(period))))
    return bound


def free_memory() -> int | None:
    """Bytes available without swapping, at most the rest of the container's limit; None if unknown."""
    found = [bytes_ for bytes_ in (_available(), _left_of_container()) if bytes_ is not None]
    return min(found, default=None)


def _available() -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in _MEMINFO.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return None


def _left_of_container() -> int | None:
    """Bytes left in the container. It counts the page cache as used, although that is freed on demand."""
    with contextlib.suppress(OSError, ValueError):
        most = int((_CGROUP / "memory.max").read_text("ascii"))  # ValueError for "max", which means no limit
        used = int((_CGROUP / "memory.current").read_text("ascii"))
        lines = (_CGROUP / "memory.stat").read_text("ascii").splitlines()
        files = sum(int(line.split()[1]) for line in lines if line.startswith(("inactive_file ", "active_file ")))
        return max(0, most - used + files)
    return None


KEPT_MEMORY = 256_000_000
"""Bytes of freed memory that a worker and its forks keep."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -3, -4, -8
"""Parameters of glibc's `mallopt`, with their numbers in malloc.h."""
_MOST_MMAP_THRESHOLD = 32 << 20
_NEVER = (1 << 31) - 1


def keep_freed_memory(*, all_of_it: bool = False) -> None:
    """Make malloc keep freed memory for the next layer instead of returning it to the kernel: 256 MB, or all of it.

    The kernel clears each new page: a tenth of the CPU time of a crawl, and of a network's forward pass. Does nothing
    without glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)  # otherwise each thread would keep its own memory
        if all_of_it:
            mallopt(_M_MMAP_MAX, 0)  # arrays of any size come from kept memory
            mallopt(_M_TRIM_THRESHOLD, _NEVER)
        else:
            mallopt(_M_MMAP_THRESHOLD, _MOST_MMAP_THRESHOLD)
            mallopt(_M_TRIM_THRESHOLD, KEPT_MEMORY)
