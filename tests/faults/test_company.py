"""Eight processes on one work folder, killed and stopped at random moments, beside readers: one at a time works.

Afterwards the same commands lead to the fragments of an undisturbed run, each once, and to its published bytes.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file
from tests.faults.scenarios import SEED
from tests.program import PROGRAM, filterzoo, text
from tests.publish.folders import tree

from filterzoo import load

NETWORKS = 120
CRAWL = ("crawl", "manifest.yaml", "--workdir", "work", "--workers", "1", "-q")
PUBLISH = ("publish", "./out", "--workdir", "work")
STATUS = ("status", "--workdir", "work", "--json")
VERIFY = ("verify", "./out")
COMMANDS = [CRAWL] * 4 + [PUBLISH] * 2 + [STATUS, VERIFY]
TOLD: dict[tuple[str, ...], dict[int, tuple[str, ...]]] = {
    CRAWL: {3: ("another crawl is working here",)},
    PUBLISH: {
        2: (
            "another publisher is writing there",
            "no crawl has been here",
            "the crawl has found nothing yet",
            "an interrupted release",
        )
    },
    STATUS: {2: ("no crawl has been here",)},
    # Before the first release nothing is there; killed while files are moved, a publisher leaves what readers name.
    VERIFY: {
        1: ("missing 8, readme 1, releases 1", "interrupted"),
        2: ("no such folder", "no data set", "not a data set"),
    },
}
"""Exit codes with which a command may end beside the others, and what it then says last."""
MANIFEST = """name: zoo
sources:
  - source: local
    paths: ["zoo/*"]
    license: mit
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process groups and SIGSTOP as Linux has them")


@dataclass
class Place:
    """One of the processes, started again whenever it has ended; `ended`: how often with which code and last line."""

    folder: Path
    command: Sequence[str]
    number: int
    running: subprocess.Popen[bytes] | None = None
    is_stopped: bool = False
    ended: Counter[tuple[int, str]] = field(default_factory=Counter)

    @property
    def _told(self) -> Path:
        return self.folder / f"told-{self.number}"

    def keep_busy(self) -> None:
        if self.running is not None and self.running.poll() is not None:
            lines = text(self._told.read_bytes()).strip().splitlines()
            self.ended[self.running.returncode, lines[-1] if lines else ""] += 1
            self.running = None
        if self.running is None:
            with self._told.open("wb") as told:
                self.running = subprocess.Popen(
                    [PROGRAM, *self.command], cwd=self.folder, stdout=told, stderr=told, process_group=0
                )

    def send(self, number: int) -> None:
        """A signal to the whole process group."""
        if self.running is not None and self.running.poll() is None:
            self.is_stopped = number == signal.SIGSTOP
            with suppress(ProcessLookupError):
                os.killpg(self.running.pid, number)

    def end(self) -> None:
        self.send(signal.SIGKILL)
        if self.running is not None:
            self.running.wait(30)


def write_zoo(folder: Path) -> None:
    (folder / "zoo").mkdir()
    (folder / "manifest.yaml").write_text(MANIFEST)
    for seed in range(NETWORKS):
        layer = np.random.default_rng(seed).standard_normal((16, 8, 3, 3)).astype(np.float32)
        save_file({"conv.weight": layer}, folder / "zoo" / f"{seed:03}.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_zoo(tmp_path)
    return tmp_path


def published(folder: Path, work: str, name: str) -> dict[str, str]:
    """What a publication of the work folder to a new place holds."""
    ran = filterzoo("publish", f"./{name}", "--workdir", work, "--release", "v2026.01.02", cwd=folder)
    assert ran.code == 0, ran.err
    return tree(folder / name)


def disturbed(folder: Path, seconds: float) -> Iterator[Place]:
    """Run all commands again and again, and signal one of them at random moments; gives them when they have ended.

    On a slow machine it takes longer: until each but the check has come to its end once.
    """
    chance = random.Random(SEED)
    places = [Place(folder, command, number) for number, command in enumerate(COMMANDS)]
    begin = time.monotonic()
    try:
        while time.monotonic() < begin + seconds or not (_each_ended(places) or time.monotonic() > begin + 600):
            for place in places:
                place.keep_busy()
            time.sleep(chance.uniform(0.05, 0.6))
            victim = chance.choice(places)
            if victim.is_stopped:
                victim.send(signal.SIGCONT)
            elif chance.random() < 0.2:
                victim.send(chance.choice([signal.SIGKILL, signal.SIGSTOP]))
    finally:
        for place in places:
            place.end()
    yield from places


def _each_ended(places: Sequence[Place]) -> bool:
    return {place.command for place in places if any(code == 0 for code, _ in place.ended)} >= {CRAWL, PUBLISH, STATUS}


def left_running(folder: Path) -> list[str]:
    """Processes of the disturbed commands, workers and jails too."""
    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        with suppress(psutil.Error):
            if process.info["cwd"] == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.info["cmdline"] or ()))
    return found


def check(folder: Path, seconds: float) -> None:
    calm = ("crawl", "manifest.yaml", "--workdir", "calm", "--workers", "1", "-q")
    assert (ran := filterzoo(*calm, cwd=folder)).code == 0, ran.err
    places = list(disturbed(folder, seconds))
    wrong = [
        f"{place.command[0]} ended with {code}: {line}"
        for place in places
        for code, line in place.ended
        if code not in {0, -signal.SIGKILL}
        and not any(part in line for part in TOLD[tuple(place.command)].get(code, ()))
    ]
    assert wrong == []
    assert _each_ended(places)
    end = time.monotonic() + 30
    while (left := left_running(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []
    for command in (CRAWL, PUBLISH):
        assert (ran := filterzoo(*command, cwd=folder)).code == 0, ran.err
    assert tree(folder / "work" / "fragments") == tree(folder / "calm" / "fragments")
    done = filterzoo(*STATUS, cwd=folder).document["checkpoints"]
    assert done == {"done": NETWORKS, "skipped": 0, "failed": 0}
    assert published(folder, "work", "out-fresh") == published(folder, "calm", "out-calm")
    assert filterzoo(*VERIFY, cwd=folder).code == 0
    filters, layers = load(folder / "out", return_layers=True)
    assert len(set(layers["model_id"].to_pylist())) == len(layers) == NETWORKS
    assert len(filters) == NETWORKS * 16 * 8
    left_names = {path.name for path in (folder / "work").rglob("*") if path.name.endswith((".part", ".tmp"))}
    assert left_names == set()


@pytest.mark.slow
def test_eight_processes_for_a_short_time(folder: Path) -> None:
    check(folder, 10)


@pytest.mark.torture
@pytest.mark.timeout(1200)
def test_eight_processes_for_a_minute(folder: Path) -> None:
    check(folder, 60)
