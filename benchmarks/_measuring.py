"""Measures a command in a process of its own: time, and peak memory including its child processes."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Run:
    """seconds: wall time. peak_bytes: the largest sum of proportional set sizes (PSS) of the process and its children.

    cpu_seconds: of all of these processes, sampled every 20 ms. It is more reliable on a busy machine.
    """

    seconds: float
    peak_bytes: int
    cpu_seconds: float = 0.0


def run(command: Sequence[str]) -> Run:
    """Run a command to its end; CalledProcessError if it fails."""
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
    """PSS of a process and its children, which counts shared pages once. cpu: pid -> CPU seconds, updated here."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            times = process.cpu_times()
            cpu[process.pid] = times.user + times.system
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return total
