"""The commands under fault: what they start from, what they leave undisturbed, and how both are compared."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tests.faults.faulty import Fault, Program
from tests.faults.on_disk import name_of_state
from tests.program import Ran
from tests.publish.folders import tree
from tests.publish.work import Model, ledger, weights, write_work
from tests.servers import WebServer

SEED = int(os.environ.get("FILTERZOO_FAULTS_SEED", "0"))
SAMPLE = 6
"""Calls that the slow tier tries of each command."""
STRIDE = int(os.environ.get("FILTERZOO_FAULTS_STRIDE", "3"))
KILL_STRIDE = int(os.environ.get("FILTERZOO_FAULTS_KILL_STRIDE", "1"))
"""`make torture` tries a kill at every call, and other faults at one of so many. Larger numbers make pieces of it: the
seeds from 0 to the number less one try all calls together."""
AGAIN = 20
"""Of the states from which a command has already recovered, one in so many is tried again: is it all that counts?"""
MANIFEST = """
name: zoo
sources:
  - source: local
    paths: ["zoo/*"]
    license: mit
"""
DOWNLOADS = """
name: downloads
sources:
  - source: urls
    files: [{url: "%s", name: net, license: mit}]
"""
FIRST, SECOND = "v2026.01.02", "v2026.01.03"
PUBLISH_FIRST = ("publish", "case/out", "--workdir", "case/work", "--release", FIRST)
PUBLISH_SECOND = ("publish", "case/out", "--workdir", "case/work", "--release", SECOND)


@dataclass
class Scenario:
    """A command run in a copy of the folder `start`, and the commands that publish what it made.

    finished: what the command says where a killed one had done it all. costly: one call of so many is tried.
    recovered: states on disk from which the command has come to the undisturbed state. They are not tried again,
    since it reads nothing but the disk; of `met` states, `equal` were among them.
    """

    program: Program
    start: Path
    command: Sequence[str]
    then: Sequence[Sequence[str]] = ()
    finished: str | None = None
    costly: int = 1
    calls: int = 0
    seconds: float = 0.0
    state: dict[str, Any] = field(default_factory=dict)
    recovered: set[str] = field(default_factory=set)
    met: int = 0
    equal: int = 0

    @property
    def case(self) -> Path:
        """The folder that the commands change; always the same, since its path is part of what a crawl records."""
        return self.program.faults.root / "case"

    def undisturbed(self) -> Scenario:
        """Run without a fault: the number of calls, and the state that every other run has to come to."""
        self.begin()
        begin = time.monotonic()
        assert (ran := self.program.run(*self.command)).code == 0, ran.err
        self.seconds = time.monotonic() - begin
        self.calls = self.program.faults.count
        self.state = self.after()
        return self

    def begin(self) -> None:
        shutil.rmtree(self.case, ignore_errors=True)
        shutil.copytree(self.start, self.case)

    def after(self) -> dict[str, Any]:
        """What is there once everything is published: each file with its sha256, the records of the journal."""
        for command in self.then:
            ran = self.program.run(*command)
            assert ran.code == 0, f"{command[0]}: {ran.err}"
        return state(self.case)

    def sample(self) -> list[int]:
        most = SAMPLE // 3 if self.costly > 1 else SAMPLE
        return sorted(random.Random(SEED).sample(range(1, self.calls + 1), min(most, self.calls)))

    def every(self, stride: int = 1) -> Iterable[int]:
        """Every call, or one of `stride` of them: another one for another seed."""
        stride *= self.costly
        return range(1 + SEED % stride, self.calls + 1, stride)

    def trouble(self, at: int, fault: Fault) -> str | None:
        """Run with the fault, and again without; says what is not as it was promised."""
        self.begin()
        ran = self.program.run(*self.command, at=at, fault=fault)
        return self._recovered(ran, fault, f"{fault.name} at {at}, {self.program.faults.met()}")

    def trouble_after(self, seconds: float) -> tuple[bool, str | None]:
        """As `trouble`, with a kill at a moment; also whether it came before the end.

        Where it came too late, the command takes less time than it was thought to.
        """
        self.begin()
        begin = time.monotonic()
        ran = self.program.run(*self.command, kill_after=seconds)
        if ran.code != -9:
            self.seconds = min(self.seconds, time.monotonic() - begin)
        met = f"killed after {seconds} s and {self.program.faults.count} calls"
        return ran.code == -9, self._recovered(ran, Fault.KILL, met)

    def _recovered(self, ran: Ran, fault: Fault, met: str) -> str | None:
        if wrong := told_wrong(ran, fault):
            return f"{met}: {wrong}"
        return self.trouble_from_here(met)

    def trouble_from_here(self, met: str) -> str | None:
        """What is not as undisturbed when the command runs in what is now on the disk."""
        name = name_of_state(self.case)
        self.met += 1
        if name in self.recovered:
            self.equal += 1
            if self.equal % AGAIN:
                return None
        again = self.program.run(*self.command)
        if again.code != 0 and (self.finished is None or self.finished not in again.err):
            return f"{met}: the next run ended with {again.code}: {again.err[-500:]}"
        try:
            found = self.after()
        except AssertionError as error:
            return f"{met}: {error}"
        different = sorted(str(key) for key, _ in found.items() ^ self.state.items())
        if not different:
            self.recovered.add(name)
        return f"{met}: not as undisturbed: {different[:6]}" if different else None

    def check(self, numbers: Iterable[int], faults: Iterable[Fault]) -> None:
        """No fault at any of these calls changes what comes of it."""
        self.told([self.trouble(at, fault) for fault in faults for at in numbers])

    def told(self, troubles: Sequence[str | None]) -> None:
        """Print how much was tried; fail with what went wrong."""
        print(f"{self.command[0]}: {len(troubles)} faults; so far {self.met} states, {self.equal} of them met before")  # noqa: T201  # the figures
        found = [trouble for trouble in troubles if trouble]
        assert not found, f"{len(found)} of {len(troubles)}:\n" + "\n".join(found)


def told_wrong(ran: Ran, fault: Fault) -> str | None:
    """A killed command says nothing. One that met an error ends with code 2 and one line, or did what it was asked."""
    if fault in {Fault.KILL, Fault.TEAR}:
        return None if ran.code in {0, -9} else f"ended with {ran.code}: {ran.err[-500:]}"
    if ran.code == 0:
        return None
    lines = [line for line in ran.err.splitlines() if line.startswith("filterzoo: ")]
    if ran.code == 2 and len(lines) == 1 and ran.err.endswith(lines[0] + "\n") and "unexpected" not in lines[0]:
        return None
    return f"ended with {ran.code}: {ran.err[-700:]}"


def state(folder: Path) -> dict[str, Any]:
    """Path -> sha256 of every file below, each folder, and the records of the journal in the place of its files.

    The folders that only a crawl with something to do makes may be there or not; what is in them counts. So with those
    of the cache, whose locks stay and whose index has the time of day.
    """
    passed_over = ("work/journal.", "work/lock", "cache/locks/", "cache/keys/")
    found: dict[str, Any] = {path: digest for path, digest in tree(folder).items() if not path.startswith(passed_over)}
    found |= {f"{path.relative_to(folder)}/": "" for path in folder.rglob("*") if path.is_dir()}
    for name in ("work/scratch/", "work/sockets/", "cache/locks/", "cache/keys/", "cache/partial/"):
        found.pop(name, None)
    journal = folder / "work" / "journal.sqlite"
    with closing(sqlite3.connect(journal)) as database:
        for table in ("done", "ledger"):
            rows = database.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3, 4, 5").fetchall()
            found[f"journal: {table}"] = str(rows)
    return found


def write_zoo(root: Path) -> None:
    """Two tiny files, one layer each."""
    (root / "zoo").mkdir()
    (root / "manifest.yaml").write_text(MANIFEST)
    for seed, name in enumerate(("a", "b")):
        layer = np.random.default_rng(seed).standard_normal((8, 4, 3, 3)).astype(np.float32)
        save_file({"conv.weight": layer}, root / "zoo" / f"{name}.safetensors")


def crawl(program: Program, starts: Path) -> Scenario:
    """A crawl into a new work folder, published afterwards."""
    start = starts / "nothing"
    start.mkdir()
    command = ("crawl", "manifest.yaml", "--workdir", "case/work", "--workers", "1")
    return Scenario(program, start, command, (PUBLISH_FIRST,)).undisturbed()


def models() -> list[Model]:
    """Three that share a layer, two of them in the first release."""
    shared = weights(1, 4, 4, 3, 3)
    return [
        Model("a", {"own": weights(2, 4, 4, 3, 3), "shared": shared}),
        Model("b", {"shared": shared}, licence_class="share-alike"),
        Model("c", {"own": weights(3, 4, 4, 3, 3), "shared": shared}),
    ]


def publication(program: Program, starts: Path) -> Scenario:
    """A second release into a folder that holds a first one."""
    start = program.faults.root / "case"
    shutil.rmtree(start, ignore_errors=True)
    write_work(start / "work", models()[:2])
    assert (ran := program.run(*PUBLISH_FIRST)).code == 0, ran.err
    write_work(start / "work", models()[2:], ledger())
    start.rename(starts / "published")
    return Scenario(program, starts / "published", PUBLISH_SECOND).undisturbed()


def takedown(program: Program, starts: Path) -> Scenario:
    """A takedown of the model that holds a layer of others."""
    start = program.faults.root / "case"
    shutil.rmtree(start, ignore_errors=True)
    write_work(start / "work", models())
    assert (ran := program.run(*PUBLISH_FIRST)).code == 0, ran.err
    start.rename(starts / "to-be-taken-down")
    command = ("takedown", "case/out", "--model", "pypi/a@1", "--yes", "--workdir", "case/work", "--release", SECOND)
    return Scenario(program, starts / "to-be-taken-down", command).undisturbed()


def crawl_of_downloads(program: Program, starts: Path) -> Scenario:
    """A crawl of a file from a server without byte ranges: it is downloaded into the cache."""
    start = starts / "nothing-downloaded"
    start.mkdir()
    root = program.faults.root
    server = program.opened.enter_context(WebServer())
    body = (root / "zoo" / "a.safetensors").read_bytes()
    (root / "downloads.yaml").write_text(DOWNLOADS % server.add("/net.safetensors", body, ranges=False))
    command = ("crawl", "downloads.yaml", "--workdir", "case/work", "--workers", "1", "--allow-private")
    return Scenario(program, start, command, (PUBLISH_FIRST,), costly=5).undisturbed()


def _published(program: Program, start: Path) -> None:
    """A data set in which a robust network has a normal one beside it."""
    case = program.faults.root / "case"
    shutil.rmtree(case, ignore_errors=True)
    pair = [
        Model(f"{word}-net", {"own": weights(seed, 4, 4, 3, 3)}, facts={"pair_id": "p", "robust": bool(seed)})
        for seed, word in enumerate(("normal", "robust"))
    ]
    write_work(case / "work", [*pair, *models()])
    assert (ran := program.run(*PUBLISH_FIRST)).code == 0, ran.err
    case.rename(start)


def export(program: Program, starts: Path) -> Scenario:
    """An export of a data set to one file, with a table of pairs beside it."""
    _published(program, starts / "to-be-exported")
    command = ("export", "case/out", "case/export.h5", "--format", "cnn-filter-db")
    return Scenario(program, starts / "to-be-exported", command, finished="is there already").undisturbed()


def report(program: Program, starts: Path) -> Scenario:
    """A report of a data set, with all figures that it can have."""
    _published(program, starts / "to-be-reported")
    command = ("report", "case/out", "-o", "case/report")
    return Scenario(program, starts / "to-be-reported", command, costly=10).undisturbed()


def small_report(program: Program, starts: Path) -> Scenario:
    """A report of one layer without 3x3 filters: few figures, written as all are."""
    case = program.faults.root / "case"
    shutil.rmtree(case, ignore_errors=True)
    write_work(case / "work", [Model("a", {"own": weights(2, 4, 4, 1, 1)})])
    assert (ran := program.run(*PUBLISH_FIRST)).code == 0, ran.err
    case.rename(starts / "to-be-reported-in-short")
    command = ("report", "case/out", "-o", "case/report")
    return Scenario(program, starts / "to-be-reported-in-short", command).undisturbed()


def repair(program: Program, starts: Path) -> Scenario:
    """A repair of a work folder: the journal is cut, and a killed crawl left half a file."""
    start = starts / "damaged"
    write_work(start / "work", models(), ledger())
    journal = start / "work" / "journal.sqlite"
    journal.write_bytes(journal.read_bytes()[: journal.stat().st_size * 2 // 3])
    (start / "work" / "scratch" / "0123").mkdir(parents=True)
    (start / "work" / "scratch" / "0123" / "filters").write_bytes(b"half")
    command = ("doctor", "--repair", "--workdir", "case/work")
    return Scenario(program, start, command).undisturbed()
