"""Groups of small checkpoints: how they are drawn, and that a group gives what its checkpoints alone would give."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.crawler.checkpoints import checkpoint, done
from tests.program import filterzoo

from filterzoo.crawl.discovery import discover, open_sources
from filterzoo.crawl.priority import MOST, SMALL, TaskGroups
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.crawl.worker.worker import Worker
from filterzoo.durable import sync as durable_sync
from filterzoo.errors import Reason, StorageFailed
from filterzoo.network.door import Door
from filterzoo.outcome import Done
from filterzoo.plugins import load, references
from filterzoo.records import Artifact
from filterzoo.store import fragments
from filterzoo.store.workfolder import WorkFolder


def task(size: int | None) -> Task:
    return Task(checkpoint("a", artifacts=(Artifact(url="https://zoo/a", size=size),)), 0, None)


def drawn(groups: TaskGroups, size: int = 7) -> list[int]:
    """The lengths of the groups, each ended before the next is drawn."""
    lengths = []
    while group := groups.take():
        lengths.append(len(group))
        groups.ended(group, [done(one.checkpoint, size=size) for one in group])
    return lengths


def test_groups_grow_and_hold_small_checkpoints_only() -> None:
    assert drawn(TaskGroups([task(5)] * 7, 2)) == [1, 2, 4]
    assert drawn(TaskGroups([task(5)] * 7, 4)) == [1, 1, 2, 3]
    lengths = drawn(TaskGroups([task(SMALL)] * 200, 2))
    assert sum(lengths) == 200
    assert lengths == sorted(lengths[:-1]) + lengths[-1:]
    assert max(lengths) == MOST
    assert drawn(TaskGroups([task(SMALL + 1)] * 100, 2)) == [1] * 100
    mixed = drawn(TaskGroups([task(5)] * 100 + [task(SMALL + 1)] + [task(5)] * 40, 2))
    assert sum(mixed) == 141


def test_checkpoints_of_unknown_size_are_small_while_those_before_them_were() -> None:
    assert max(drawn(TaskGroups([task(None)] * 100, 2))) > 1
    assert drawn(TaskGroups([task(None)] * 100, 2), SMALL + 1) == [1] * 100


def test_what_was_running_when_a_worker_died_is_drawn_again_by_itself() -> None:
    groups = TaskGroups([task(5)] * 60, 1)
    for _ in range(40):
        groups.ended([task(5)], [done(task(5).checkpoint)])
    group = groups.take()
    assert len(group) == MOST
    groups.take_singly(group)
    assert drawn(groups)[:MOST] == [1] * MOST


SHELF = '''
import pathlib, threading, time
from filterzoo import Artifact, Checkpoint, LocalFile, Reason, Refused, Source, hookimpl

class Shelf(Source):
    """Files of a folder; counts those that are open and those that are being opened."""

    name = "shelf"
    opens_in_threads = IN_THREADS
    opening, most_opening, open_files = 0, 0, 0
    lock = threading.Lock()

    def discover(self):
        for path in sorted(self.folder.glob("*.safetensors")):
            file = Artifact(url=path.name, name=path.name, size=path.stat().st_size)
            yield Checkpoint(id=path.stem, revision="1", licence="mit", artifacts=(file,))

    def open(self, artifact):
        with self.lock:
            Shelf.opening += 1
            Shelf.most_opening = max(Shelf.most_opening, Shelf.opening)
        time.sleep(0.02)
        with self.lock:
            Shelf.opening -= 1
        if artifact.url.startswith("gone"):
            raise Refused(Reason.REMOVED, "gone")
        if artifact.url.startswith("broken"):
            raise ValueError("the source")
        return Counted(self.folder / artifact.url)

class Counted(LocalFile):
    def __init__(self, path):
        super().__init__(path)
        with Shelf.lock:
            Shelf.open_files += 1

    def close(self):
        super().close()
        with Shelf.lock:
            Shelf.open_files -= 1

@hookimpl
def filterzoo_sources():
    return [Shelf]
'''


def write(folder: Path, names: list[str]) -> None:
    generator = np.random.default_rng(0)
    for name in names:
        save_file({"w.weight": generator.standard_normal((4, 2, 3, 3)).astype("<f4")}, folder / f"{name}.safetensors")


@contextmanager
def shelf(folder: Path, *, in_threads: bool = True) -> Iterator[tuple[Worker, list[Task], Any]]:
    """A worker, a task for each file of the folder, and the source's class."""
    (folder / "shelf.py").write_text(SHELF.replace("IN_THREADS", str(in_threads)))
    (folder / "shelf.yaml").write_text("name: shelf\nsources: [{source: shelf}]\n")
    plugins, manifests, cache = tuple(references([folder / "shelf.py"])), (folder / "shelf.yaml",), folder / "cache"
    with WorkFolder(folder / "work") as work, work.journal(), Door(cache) as door:
        setup = WorkerSetup(manifests, plugins, work.fragments_url, work.scratch, cache, "cpu")
        sources = open_sources(manifests, load(plugins), door)
        tasks = [one for one in discover(sources) if isinstance(one, Task)]
        worker = Worker(setup)
        try:
            yield worker, tasks, type(worker._sources[0].source)
        finally:
            worker.close()


def test_a_group_has_the_outcomes_of_its_checkpoints_alone(tmp_path: Path) -> None:
    write(tmp_path, ["a", "b", "broken", "damaged", "gone", "z"])
    (tmp_path / "damaged.safetensors").write_bytes(b"\x09" * 100)
    with shelf(tmp_path) as (worker, tasks, source):
        together = worker.take_all(tasks)
        assert source.most_opening > 1
        assert source.open_files == 0
        for outcome in together:
            if isinstance(outcome, Done):
                assert worker._store.exists(outcome.layers_fragment)
                assert worker._store.exists(outcome.filters_fragment)
        assert [str(getattr(one, "reason", "done")) for one in together] == [
            "done",
            "done",
            "plugin_error",
            "unknown_format",
            "removed",
            "done",
        ]
        assert together == [worker.take(task) for task in tasks]
        assert list(worker._scratch.iterdir()) == []


def test_a_source_that_does_not_allow_it_is_not_called_in_threads(tmp_path: Path) -> None:
    write(tmp_path, list("abcd"))
    with shelf(tmp_path, in_threads=False) as (worker, tasks, source):
        assert all(isinstance(one, Done) for one in worker.take_all(tasks))
        assert source.most_opening == 1


def test_an_outcome_waits_for_the_disk_while_the_next_checkpoint_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sync ends only when both checkpoints have one: alone each would wait for ever."""
    write(tmp_path, ["a", "b"])
    both, synced = threading.Barrier(2, timeout=30), []

    def slow(file: Any) -> None:
        both.wait()
        time.sleep(0.05)
        durable_sync(file)
        synced.append(file.name)

    monkeypatch.setattr(fragments, "sync", slow)
    with shelf(tmp_path) as (worker, tasks, _source):
        assert all(isinstance(one, Done) for one in worker.take_all(tasks))
        assert len(synced) == 2


def test_a_store_that_fails_ends_the_group_and_closes_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, list("abcdef"))

    def failing(_file: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fragments, "sync", failing)
    with shelf(tmp_path) as (worker, tasks, source), pytest.raises(StorageFailed):
        worker.take_all(tasks)
    assert source.open_files == 0


@pytest.mark.slow
def test_a_worker_that_dies_in_a_group_costs_no_other_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, [f"{number:02}" for number in range(40)])
    deadly = SHELF.replace("time.sleep(0.02)", "os.kill(os.getpid(), 9) if artifact.url.startswith('30') else None")
    (tmp_path / "shelf.py").write_text(f"import os\n{deadly.replace('IN_THREADS', 'True')}")
    (tmp_path / "shelf.yaml").write_text("name: shelf\nsources: [{source: shelf}]\n")
    ran = filterzoo("crawl", "shelf.yaml", "--plugin", "shelf.py", "--workers", "1", "--json", cwd=tmp_path, fresh=True)
    assert ran.code == 1, ran.err
    assert ran.document["checkpoints"] == {"done": 39, "skipped": 0, "failed": 1}, json.dumps(ran.document)
    with WorkFolder(tmp_path / "filterzoo-work").existing_journal() as journal:
        ((ident, reason, detail),) = [(one.id, one.reason, one.detail) for one in journal.ledger()]
    assert (ident, reason) == ("30", Reason.CRASHED)
    assert re.search("died of it, alone", detail)
