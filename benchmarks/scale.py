"""The local executor and Ray on 1, 2 and 3 nodes: wall and CPU time for the same zoo and the same published bytes.

All Ray nodes run on this machine, with one core each, so more nodes than cores show only the overhead. CPU time is that
of the crawl and of all workers; that of Ray's own processes is separate. The last row of each cluster is the overhead
of a task without a checkpoint. Needs `filterzoo[ray]`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from benchmarks._measuring import run
from benchmarks._zoo import write_zoo

PROGRAM = str(Path(sys.executable).with_name("filterzoo"))


class Nodes:
    """A running cluster. process: the parent of its processes. CPU times are those of the last sample of each."""

    def __init__(self, address: str, process: psutil.Process) -> None:
        self.address = address
        self._process = process
        self._seen: dict[int, float] = {}
        self._workers: set[int] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self._thread.join()

    def cpu_seconds(self) -> tuple[float, float]:
        """CPU seconds of the workers and their jails, and of Ray's own processes, since the start."""
        workers = sum(seconds for pid, seconds in list(self._seen.items()) if pid in self._workers)
        return workers, sum(list(self._seen.values())) - workers

    def _sample(self) -> None:
        while not self._ended.wait(0.2):
            with contextlib.suppress(psutil.Error):
                for process in self._process.children(recursive=True):
                    self._note(process)

    def _note(self, process: psutil.Process) -> None:
        with contextlib.suppress(psutil.Error):
            times, command = process.cpu_times(), " ".join(process.cmdline())
            self._seen[process.pid] = times.user + times.system
            if command.startswith("ray::take") or "filterzoo.jail" in command:
                self._workers.add(process.pid)


def main() -> None:
    """Crawl and publish with each executor, and check that the published bytes are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, default=10_000_000)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--tasks", type=int, default=500, help="empty tasks, to see what one costs")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="filterzoo-bench-"))
    try:
        zoo = write_zoo(folder / "zoo", arguments.filters)
        sources = [{"source": "local", "paths": [str(folder / "zoo" / "*")], "license": "mit"}]
        (folder / "zoo.yaml").write_text(json.dumps({"name": "scale", "sources": sources}))
        print(f"{zoo.files} files, {zoo.size / 1e6:,.0f} MB, {zoo.filters:,} filters; {os.cpu_count()} cores")
        os.environ["FILTERZOO_CACHE"] = str(folder / "cache")
        _crawl(folder, "compiled", zoo.filters, ())  # the first crawl on a machine compiles
        expected = None
        for workers in arguments.nodes:
            expected = _crawl(folder, f"local, {workers} workers", zoo.filters, ("--workers", str(workers))) or expected
        for count in arguments.nodes:
            with _nodes(count) as nodes:
                where = ("--executor", "ray", "--ray-address", nodes.address, "--store", str(folder / f"store{count}"))
                found = _crawl(folder, f"Ray, {count} nodes", zoo.filters, where, nodes)
                if found != expected:
                    raise RuntimeError(f"{count} nodes published other bytes than this machine alone")
                _overhead(folder, nodes, count, arguments.tasks)
        print("the same bytes were published each time")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _crawl(folder: Path, name: str, filters: int, where: tuple[str, ...], nodes: Nodes | None = None) -> str:
    """Crawl and publish; returns a hash of the names and contents of all published files."""
    work, out = folder / f"work {name}", folder / f"out {name}"
    before = nodes.cpu_seconds() if nodes else (0.0, 0.0)
    done = run([PROGRAM, "crawl", str(folder / "zoo.yaml"), "--workdir", str(work), "-q", *where])
    rate = filters / done.seconds / 1e6
    line = f"{name:18} {done.seconds:7.1f} s  {rate:5.2f} M filters/s  {done.cpu_seconds:6.1f} s of CPU"
    if nodes:
        after = nodes.cpu_seconds()
        workers, own = after[0] - before[0], after[1] - before[1]
        line += f" (the crawl alone) + {workers:.1f} s (workers) + {own:.1f} s (Ray's own processes)"
    print(line, flush=True)
    store = where[where.index("--store") :] if "--store" in where else ()
    published = [PROGRAM, "publish", str(out), "--workdir", str(work), "--release", "v2026.01.01", *store]
    subprocess.run(published, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    paths = sorted(path for path in out.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(out)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in paths]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _overhead(folder: Path, nodes: Nodes, count: int, tasks: int) -> None:
    before = nodes.cpu_seconds()
    command = [sys.executable, "-m", "benchmarks._ray_overhead", nodes.address, str(tasks), str(folder)]
    seconds = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    own = nodes.cpu_seconds()[1] - before[1]
    cost = (
        f"{1000 * seconds / tasks:.1f} ms each; Ray's own processes {1000 * own / tasks:.1f} ms of CPU, start included"
    )
    print(f"{'':18} {tasks} tasks without a checkpoint on {count} nodes: {cost}", flush=True)


@contextmanager
def _nodes(count: int) -> Iterator[Nodes]:
    """A cluster in a folder with a short path, because paths of sockets are limited."""
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as short:
        environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_memory_monitor_refresh_ms": "0"}
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._ray_nodes", str(count), short],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            if not address:
                raise RuntimeError("Ray did not start; a long TMPDIR is too long for its sockets")
            nodes = Nodes(address, psutil.Process(process.pid))
            try:
                yield nodes
            finally:
                nodes.close()
        finally:
            process.communicate(timeout=120)


if __name__ == "__main__":
    main()
