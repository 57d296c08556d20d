"""Many tiny checkpoints in one run: time, memory, open files and size of the journal after 1,000, 10,000 and 20,000.

Memory and open files, of the crawl process and of the largest other process, should stay constant. The journal should
grow by the same size for each checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
from safetensors.numpy import save_file

MANIFEST = """name: tiny
sources:
  - source: local
    paths: ["zoo/*/*.safetensors"]
    license: mit
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """A measurement when `done` checkpoints were in the journal. Memory and the journal are in bytes."""

    done: int
    seconds: float
    driver_bytes: int
    driver_files: int
    others_bytes: int
    others_files: int
    journal_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.done:7,} done: {self.seconds:7.1f} s; crawl {self.driver_bytes / 1e6:5.0f} MB, "
            f"{self.driver_files:3} files; largest other process {self.others_bytes / 1e6:5.0f} MB, "
            f"{self.others_files:3} files; journal {self.journal_bytes / self.done:6.0f} bytes a checkpoint"
        )


def main() -> None:
    """Crawl, and print a sample at each number of checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", type=int, nargs="+", default=[1_000, 10_000, 20_000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the zoo and the work folder are made")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="filterzoo-bench-", dir=arguments.folder))
    try:
        write_zoo(folder, max(arguments.at))
        for sample in crawl(folder, sorted(arguments.at), arguments.workers):
            print(sample, flush=True)
    finally:
        shutil.rmtree(folder)


def write_zoo(folder: Path, count: int) -> None:
    """Write `count` files of one layer each, all different."""
    (folder / "zoo.yaml").write_text(MANIFEST)
    for number in range(count):
        place = folder / "zoo" / f"{number // 1000:03}"
        place.mkdir(parents=True, exist_ok=True)
        layer = np.random.default_rng(number).standard_normal((4, 2, 3, 3)).astype(np.float32)
        save_file({"conv.weight": layer}, place / f"{number:06}.safetensors")


def crawl(folder: Path, at: list[int], workers: int) -> list[Sample]:
    """Crawl the zoo to its end; returns a sample at each number in `at`, the last one at the end of the run."""
    program = str(Path(sys.executable).with_name("filterzoo"))
    command = [program, "crawl", "zoo.yaml", "--workdir", "work", "--workers", str(workers), "-q"]
    begin = time.monotonic()
    samples: list[Sample] = []
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        driver = psutil.Process(running.pid)
        while running.poll() is None and len(samples) < len(at):
            done = recorded(folder)
            if done >= at[len(samples)] - len(at):  # the last checkpoints may be recorded just before the end
                with contextlib.suppress(psutil.NoSuchProcess):
                    samples.append(look(driver, done, time.monotonic() - begin, folder))
            time.sleep(0.2)
    if running.returncode:
        raise SystemExit(f"the crawl ended with {running.returncode}")
    if (done := recorded(folder)) != max(at):
        raise SystemExit(f"{done} of {max(at)} checkpoints are done")
    return samples


def recorded(folder: Path) -> int:
    """The number of checkpoints in the journal; 0 before it exists."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(f"file:{folder}/work/journal.sqlite?mode=ro", uri=True)) as database,
    ):
        return int(database.execute("SELECT count(*) FROM done").fetchone()[0])
    return 0


def look(driver: psutil.Process, done: int, seconds: float, folder: Path) -> Sample:
    """Measure the processes and the journal."""
    others = [(0, 0)]
    for process in driver.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            others.append((process.memory_info().rss, process.num_fds()))
    return Sample(
        done=done,
        seconds=seconds,
        driver_bytes=driver.memory_info().rss,
        driver_files=driver.num_fds(),
        others_bytes=max(memory for memory, _ in others),
        others_files=max(files for _, files in others),
        journal_bytes=sum(path.stat().st_size for path in (folder / "work").glob("journal.sqlite*")),
    )


if __name__ == "__main__":
    main()
