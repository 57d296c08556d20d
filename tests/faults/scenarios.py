"""The commands tested under faults: their initial state, their result without a fault, and the comparison."""

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
from safetensors.numpy import save, save_file
from tests.faults.faulty import Fault, Program
from tests.faults.on_disk import name_of_state
from tests.program import Ran
from tests.publish.folders import tree
from tests.publish.work import Model, ledger, weights, write_work
from tests.servers import WebServer

from filterzoo.network.files.ranges import READ_AHEAD

SEED = int(os.environ.get("FILTERZOO_FAULTS_SEED", "0"))
SAMPLE = 6
"""Calls that the slow tier tries of each command."""
STRIDE = int(os.environ.get("FILTERZOO_FAULTS_STRIDE", "3"))
KILL_STRIDE = int(os.environ.get("FILTERZOO_FAULTS_KILL_STRIDE", "1"))
"""`make torture` tries a kill at every call and other faults at every third. A larger stride splits the work: the
seeds from 0 to stride - 1 together try all calls."""
AGAIN = 20
"""One in this many states from which a command has already recovered is tried again, to check `name_of_state`."""
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
    """A command that runs in a copy of the folder `start`, and the commands `then` that publish its result.

    finished: the command's message if the killed run had completed. costly: one in this many calls is tried.
    recovered: states on disk from which the command has reached the undisturbed state. They are not tried again, since
    it reads only the disk. met: the number of states so far; equal: of these, the number already in `recovered`.
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
        """The folder that the commands change; always the same path, since a crawl records it."""
        return self.program.faults.root / "case"

    def undisturbed(self) -> Scenario:
        """Run without a fault: sets the number of calls and the state that every other run has to reach."""
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
        """The state once everything is published: each file with its sha256, and the records of the journal."""
        for command in self.then:
            ran = self.program.run(*command)
            assert ran.code == 0, f"{command[0]}: {ran.err}"
        return state(self.case)

    def sample(self) -> list[int]:
        most = SAMPLE // 3 if self.costly > 1 else SAMPLE
        return sorted(random.Random(SEED).sample(range(1, self.calls + 1), min(most, self.calls)))

    def every(self, stride: int = 1) -> Iterable[int]:
        """The numbers of every `stride`-th call; the seed is the offset."""
        stride *= self.costly
        return range(1 + SEED % stride, self.calls + 1, stride)

    def error_at(self, at: int, fault: Fault) -> str | None:
        """Run with the fault, then without. Returns a description of what is wrong, or None."""
        self.begin()
        ran = self.program.run(*self.command, at=at, fault=fault)
        return self._recovered(ran, fault, f"{fault.name} at {at}, {self.program.faults.met()}")

    def error_after(self, seconds: float) -> tuple[bool, str | None]:
        """As `error_at`, with a kill after `seconds`; also whether the command was killed before its end.

        If the kill came too late, `seconds` of the scenario is lowered.
        """
        self.begin()
        begin = time.monotonic()
        ran = self.program.run(*self.command, kill_after=seconds)
        if ran.code != -9:
            self.seconds = min(self.seconds, time.monotonic() - begin)
        met = f"killed after {seconds} s and {self.program.faults.count} calls"
        return ran.code == -9, self._recovered(ran, Fault.KILL, met)

    def _recovered(self, ran: Ran, fault: Fault, met: str) -> str | None:
        if wrong := exit_error(ran, fault):
            return f"{met}: {wrong}"
        return self.rerun_error(met)

    def rerun_error(self, met: str) -> str | None:
        """Run the command on the present state of the disk. Returns how its result is wrong, or None."""
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
        """Assert that no fault at any of these calls changes the final state."""
        self.report([self.error_at(at, fault) for fault in faults for at in numbers])

    def report(self, errors: Sequence[str | None]) -> None:
        """Print how many faults and states were tried; fail with the errors, if any."""
        print(f"{self.command[0]}: {len(errors)} faults; so far {self.met} states, {self.equal} of them met before")  # noqa: T201  # the figures
        found = [error for error in errors if error]
        assert not found, f"{len(found)} of {len(errors)}:\n" + "\n".join(found)


def exit_error(ran: Ran, fault: Fault) -> str | None:
    """How the exit code or output is wrong, or None. After a kill: -9 or 0; after an error: 0, or 2 with one line."""
    if fault in {Fault.KILL, Fault.TEAR}:
        return None if ran.code in {0, -9} else f"ended with {ran.code}: {ran.err[-500:]}"
    if ran.code == 0:
        return None
    lines = [line for line in ran.err.splitlines() if line.startswith("filterzoo: ")]
    if ran.code == 2 and len(lines) == 1 and ran.err.endswith(lines[0] + "\n") and "unexpected" not in lines[0]:
        return None
    return f"ended with {ran.code}: {ran.err[-700:]}"


def state(folder: Path) -> dict[str, Any]:
    """Path -> sha256 of every file below, every folder, and the records of the journal instead of its files.

    Folders that only a crawl with something to do creates are ignored if empty. Of the cache, locks (never removed) and
    the index (has the time of day) are ignored.
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
    """Three models that share a layer; two of them are in the first release."""
    shared = weights(1, 4, 4, 3, 3)
    return [
        Model("a", {"own": weights(2, 4, 4, 3, 3), "shared": shared}),
        Model("b", {"shared": shared}, licence_class="share-alike"),
        Model("c", {"own": weights(3, 4, 4, 3, 3), "shared": shared}),
    ]


def publication(program: Program, starts: Path) -> Scenario:
    """A second release into a folder that holds the first."""
    start = program.faults.root / "case"
    shutil.rmtree(start, ignore_errors=True)
    write_work(start / "work", models()[:2])
    assert (ran := program.run(*PUBLISH_FIRST)).code == 0, ran.err
    write_work(start / "work", models()[2:], ledger())
    start.rename(starts / "published")
    return Scenario(program, starts / "published", PUBLISH_SECOND).undisturbed()


def takedown(program: Program, starts: Path) -> Scenario:
    """A takedown of the model whose file holds a layer that other models share."""
    start = program.faults.root / "case"
    shutil.rmtree(start, ignore_errors=True)
    write_work(start / "work", models())
    assert (ran := program.run(*PUBLISH_FIRST)).code == 0, ran.err
    start.rename(starts / "to-be-taken-down")
    command = ("takedown", "case/out", "--model", "pypi/a@1", "--yes", "--workdir", "case/work", "--release", SECOND)
    return Scenario(program, starts / "to-be-taken-down", command).undisturbed()


def crawl_of_downloads(program: Program, starts: Path) -> Scenario:
    """A crawl of a file from a server without byte ranges, so that it is downloaded into the cache."""
    start = starts / "nothing-downloaded"
    start.mkdir()
    root = program.faults.root
    server = program.opened.enter_context(WebServer())
    body = save({"conv.weight": weights(9, 64, 64, 3, 3)})
    assert len(body) > READ_AHEAD  # a smaller file would stay in memory
    (root / "downloads.yaml").write_text(DOWNLOADS % server.add("/net.safetensors", body, ranges=False))
    command = ("crawl", "downloads.yaml", "--workdir", "case/work", "--workers", "1", "--allow-private")
    return Scenario(program, start, command, (PUBLISH_FIRST,), costly=5).undisturbed()


def _published(program: Program, start: Path) -> None:
    """A data set with a pair of a normal and a robust network."""
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
    """An export of a data set to one file and a table of pairs."""
    _published(program, starts / "to-be-exported")
    command = ("export", "case/out", "case/export.h5", "--format", "cnn-filter-db")
    return Scenario(program, starts / "to-be-exported", command, finished="is there already").undisturbed()


def report(program: Program, starts: Path) -> Scenario:
    """A report with all possible figures."""
    _published(program, starts / "to-be-reported")
    command = ("report", "case/out", "-o", "case/report")
    return Scenario(program, starts / "to-be-reported", command, costly=10).undisturbed()


def small_report(program: Program, starts: Path) -> Scenario:
    """A report of one layer without 3x3 filters, so that it has few figures."""
    case = program.faults.root / "case"
    shutil.rmtree(case, ignore_errors=True)
    write_work(case / "work", [Model("a", {"own": weights(2, 4, 4, 1, 1)})])
    assert (ran := program.run(*PUBLISH_FIRST)).code == 0, ran.err
    case.rename(starts / "to-be-reported-in-short")
    command = ("report", "case/out", "-o", "case/report")
    return Scenario(program, starts / "to-be-reported-in-short", command).undisturbed()


def repair(program: Program, starts: Path) -> Scenario:
    """A repair of a work folder with a truncated journal and half a file of a killed crawl."""
    start = starts / "damaged"
    write_work(start / "work", models(), ledger())
    journal = start / "work" / "journal.sqlite"
    journal.write_bytes(journal.read_bytes()[: journal.stat().st_size * 2 // 3])
    (start / "work" / "scratch" / "0123").mkdir(parents=True)
    (start / "work" / "scratch" / "0123" / "filters").write_bytes(b"half")
    command = ("doctor", "--repair", "--workdir", "case/work")
    return Scenario(program, start, command).undisturbed()
