"""Times a command in a process of its own, with the peak memory of all processes it starts."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Run:
    """Wall seconds, and the largest sum of proportional set sizes seen over the process and its children, in bytes.

    cpu_seconds: of all of them, as far as they were seen every 20 ms; it says more where others use the machine too.
    """

    seconds: float
    peak_bytes: int
    cpu_seconds: float = 0.0


def run(command: Sequence[str]) -> Run:
    """Run a command to its end; CalledProcessError where it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    cpu: dict[int, float] = {}
    while process.poll() is None:
        peak = max(peak, _memory(process.pid, cpu))
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Run(seconds, peak, sum(cpu.values()))


def median(runs: Sequence[Run]) -> Run:
    """The medians of several runs."""
    return Run(
        statistics.median(r.seconds for r in runs),
        int(statistics.median(r.peak_bytes for r in runs)),
        statistics.median(r.cpu_seconds for r in runs),
    )


def _memory(pid: int, cpu: dict[int, float]) -> int:
    """Shared pages are counted once: PSS, not RSS. cpu: is told the seconds of each process until now."""
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for member in family:
        try:
            times = member.cpu_times()
            cpu[member.pid] = times.user + times.system
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return total
