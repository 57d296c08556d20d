"""Listing a whole Hub into the journal and planning a release: time, memory, requests, bytes.

The source (`hf_hub`), discovery, journal, planner and commands are the real ones. Only the Hub is synthetic
(`_synthetic_hub.py`, on loopback) and, in the last step, the layers of crawled checkpoints. All figures are measured,
none is extrapolated. `--repositories 20000` takes minutes on two busy cores; 200,000 and 2,000,000 need an idle
machine. The default quota is that of the Hub, scaled. `--quota 500 --window 300` is the real quota, with which
2,000,000 repositories in pages of 1,000 take 20 minutes of waiting alone.

1. `crawl --max-bytes 0` lists everything and reads nothing. It is stopped halfway.
2. The same command again, to its end.
3. The same command with `modified_since`, which lists only what changed since then.
4. `status`.
5. The plan of a release, the rows of `models` and `status`, and the tables of the card, for `--models` new checkpoints
   of `--layers` layers each, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from benchmarks import _synthetic_hub as synthetic
from benchmarks._measuring import Run, run

PROGRAM = str(Path(sys.executable).with_name("filterzoo"))
MANIFEST = """\
name: planning
sources:
  - {{source: hf_hub, tasks: [image-classification]{more}}}
"""


@dataclass(frozen=True, slots=True)
class RunningHub:
    url: str

    def counts(self) -> dict[str, int]:
        with urlopen(f"{self.url}/counts") as answer:
            return json.load(answer)


def main() -> None:
    """Run the steps and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repositories", type=int, default=20_000)
    parser.add_argument("--quota", type=int, default=50, help="requests in each window")
    parser.add_argument("--window", type=float, default=5.0, help="seconds")
    parser.add_argument("--changed", type=int, default=500, help="repositories that changed before the second run")
    parser.add_argument("--models", type=int, default=2_000)
    parser.add_argument("--layers", type=int, default=60)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="filterzoo-bench-"))
    try:
        with _hub(folder, arguments.repositories, arguments.quota, arguments.window) as hub:
            _listing(folder, hub, arguments.repositories, arguments.changed)
        _row("status", run([PROGRAM, "status", "--workdir", str(folder / "work"), "--json"]))
        release = [sys.executable, "-m", "benchmarks._release_plan", str(arguments.models), str(arguments.layers)]
        _row(f"plan of a release: {arguments.models:,} checkpoints of {arguments.layers} layers", run(release))
    finally:
        shutil.rmtree(folder)


def _listing(folder: Path, hub: RunningHub, repositories: int, changed: int) -> None:
    os.environ |= {"HF_ENDPOINT": hub.url, "HF_TOKEN": "", "FILTERZOO_CACHE": str(folder / "cache")}
    everything, since = folder / "everything.yaml", folder / "since.yaml"
    everything.write_text(MANIFEST.format(more=""))
    moment = synthetic.repository(repositories - changed)["lastModified"]
    since.write_text(MANIFEST.format(more=f", modified_since: {moment}"))
    command = [PROGRAM, "crawl", "--workdir", str(folder / "work"), "--max-bytes", "0", "--allow-private", "--quiet"]
    before = hub.counts()
    stopped = _stopped([*command, str(everything)], hub, repositories // synthetic.PAGE // 2)
    _row("listed, stopped in the middle", Run(stopped, 0), hub, before)
    for name, manifest in (("listed again, to its end", everything), ("what changed since", since)):
        before = hub.counts()
        _row(name, run([*command, str(manifest)]), hub, before)
        journal = sum(path.stat().st_size for path in (folder / "work").glob("journal.sqlite*"))
        print(f"    the journal has {journal / 1e6:,.1f} MB")


def _stopped(command: list[str], hub: RunningHub, requests: int) -> float:
    """Seconds until the command had made so many requests. Then it is stopped with SIGTERM."""
    start, before = time.perf_counter(), hub.counts()["requests"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and hub.counts()["requests"] - before < requests:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    if process.wait() != 143:
        raise RuntimeError(f"the listing ended with {process.returncode} before it could be stopped")
    return time.perf_counter() - start


@contextmanager
def _hub(folder: Path, repositories: int, quota: int, window: float) -> Iterator[RunningHub]:
    port = folder / "port"
    command = [sys.executable, "-m", "benchmarks._synthetic_hub", str(port), str(repositories), str(quota), str(window)]
    with subprocess.Popen(command) as process:
        try:
            while not (port.exists() and port.read_text()):
                time.sleep(0.05)
            yield RunningHub(f"http://127.0.0.1:{port.read_text()}")
        finally:
            process.kill()


def _row(name: str, found: Run, hub: RunningHub | None = None, before: dict[str, int] | None = None) -> None:
    traffic = ""
    if hub is not None and before is not None:
        now = hub.counts()
        refused = now["refused"] - before["refused"]
        traffic = f"  {now['requests'] - before['requests']:,} requests, {refused} of them answered with 429"
    memory = f"{found.peak_bytes / 1e6:,.0f} MB" if found.peak_bytes else ""
    print(f"{name}: {found.seconds:,.1f} s  {found.cpu_seconds:,.1f} s of CPU  {memory}{traffic}", flush=True)


if __name__ == "__main__":
    main()
