"""The privileges that the jail's child drops before it reads untrusted bytes. Active layers are reported by name.

process     nothing crosses the boundary but the messages of `filterzoo.jail.messages`
namespaces  a network of its own, without any interface but one that leads nowhere (Linux, where it is permitted)
rlimits     memory (RLIMIT_AS), no bytes written to files (RLIMIT_FSIZE 0), no new processes (RLIMIT_NPROC 0), no core
            dumps; CPU time is set for each file
no_new_privs   no program that runs with more rights (Linux, with either of the next two)
landlock    no path of the file system, neither to read nor to write (Linux 5.13 or newer, where it is switched on)
seccomp     only system calls that read open descriptors, manage memory and end the process: no open, no socket, no
            exec, no fork, no writing, no signal to anyone else (Linux, where libseccomp is installed)
"""

from __future__ import annotations

import errno
import os
import resource
import sys
import time
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyseccomp

_ALLOWED = (
    "read",
    "readv",
    "pread64",
    "preadv",
    "recvmsg",
    "recvfrom",
    "sendmsg",
    "sendto",
    "lseek",
    "fstat",
    "close",
    "mmap",
    "munmap",
    "mremap",
    "mprotect",
    "madvise",
    "brk",
    "futex",
    "poll",
    "ppoll",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "restart_syscall",
    "sched_yield",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "times",
    "getrusage",
    "getpid",
    "gettid",
    "getrandom",
    "exit",
    "exit_group",
)


def confine(memory_bytes: int, network_of_parent: int | None) -> list[str]:
    """Drop every privilege that indexing does not need, irrevocably; returns the names of the active layers.

    network_of_parent: what `network` returns in the parent. If the kernel permits it, the child is started in a network
    namespace of its own.
    """
    # Built first: the search for libseccomp starts a process, which the resource limits forbid.
    system_calls = _system_call_filter()
    active = ["process"]
    if network() not in {None, network_of_parent}:
        active.append("namespaces")
    if _limit_resources(memory_bytes):
        active.append("rlimits")
    of_linux = {"landlock": _close_the_file_system(), "seccomp": system_calls is not None and _load(system_calls)}
    if any(of_linux.values()):
        active.append("no_new_privs")
    return active + [name for name, holds in of_linux.items() if holds]


def network() -> int | None:
    """Identifies the network namespace of this process; None if the system does not tell."""
    try:
        return Path("/proc/self/ns/net").stat().st_ino
    except OSError:
        return None


def allow_cpu_time(seconds: int) -> None:
    """Raise this process's CPU limit, on systems where the parent cannot set it from outside."""
    _set_limit(resource.RLIMIT_CPU, ceil(time.process_time()) + seconds, is_hard=False)


def _limit_resources(memory_bytes: int) -> bool:
    """Set the resource limits; whether all could be set, since macOS defines RLIMIT_AS but rejects it."""
    limits = {
        resource.RLIMIT_AS: memory_bytes,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    held = [_set_limit(which, most) for which, most in limits.items()]
    return all(held)


def _set_limit(which: int, most: int, *, is_hard: bool = True) -> bool:
    _, hard = resource.getrlimit(which)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    try:
        resource.setrlimit(which, (most, most if is_hard else hard))
    except (ValueError, OSError):
        return False
    return True


def _close_the_file_system() -> bool:
    """From now on no path can be opened, created or removed; open files stay open. False without Landlock."""
    try:
        import landlock  # noqa: PLC0415  # only Linux has it
    except ImportError:
        return False
    try:
        landlock.Ruleset().apply()
    except (landlock.LandlockError, OSError):
        return False
    return True


def _system_call_filter() -> pyseccomp.SyscallFilter | None:
    """Calls that are not allowed fail with EPERM. None if this is not Linux or there is no libseccomp."""
    if sys.platform != "linux":
        return None
    try:
        import pyseccomp  # noqa: PLC0415  # only Linux has it, and it fails where libseccomp is not installed
    except (ImportError, RuntimeError, OSError):
        return None
    permitted = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    for name in _ALLOWED:
        permitted.add_rule(pyseccomp.ALLOW, name)
    # abort() signals its own process; signals to others are forbidden.
    permitted.add_rule(pyseccomp.ALLOW, "tgkill", pyseccomp.Arg(0, pyseccomp.EQ, os.getpid()))
    return permitted


def _load(permitted: pyseccomp.SyscallFilter) -> bool:
    """False if the kernel has no seccomp."""
    try:
        permitted.load()
    except (RuntimeError, OSError):
        return False
    return True
