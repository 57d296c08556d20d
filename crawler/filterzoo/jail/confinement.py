"""What the jail's child gives up before it sees the first hostile byte. Each layer that holds here is named.

rlimits     memory (RLIMIT_AS), no new files (RLIMIT_FSIZE 0), no core dumps; CPU time is set by the parent per file
no_new_privs, seccomp   only system calls that read open descriptors, manage memory and end the process: no open, no
            socket, no exec, no fork, no writing (Linux, where libseccomp is installed)
landlock    no path of the file system may be opened at all (Linux, where the kernel has it)
"""

from __future__ import annotations

import resource
import sys

MEMORY_BYTES = 1 << 30
"""RLIMIT_AS of the child: the address space it may use, all libraries included."""

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
    "tgkill",
)


def confine() -> list[str]:
    """Give up all that indexing does not need, for good; gives the names of the layers that are active."""
    active = ["process", _limit_resources()]
    if sys.platform == "linux":
        active += _filter_system_calls()
    return active


def _limit_resources() -> str:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return "rlimits"


def _filter_system_calls() -> list[str]:
    """Seccomp through libseccomp: what is not allowed fails with EPERM."""
    try:
        import pyseccomp  # noqa: PLC0415  # only Linux has it, and only where libseccomp is installed
    except (ImportError, RuntimeError, OSError):
        return []
    permitted = pyseccomp.SyscallFilter(pyseccomp.ERRNO(1))
    for name in _ALLOWED:
        permitted.add_rule(pyseccomp.ALLOW, name)
    permitted.load()
    return ["no_new_privs", "seccomp"]
