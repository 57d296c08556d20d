"""Layers spread over cores: the same fragments, in order, within bounds; and how many workers a machine takes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.crawler.checkpoints import layer, measure, weights
from tests.zoo import MANIFEST

from filterzoo.crawl.discovery import discover, open_sources
from filterzoo.crawl.processes import cores, machine
from filterzoo.crawl.processes.cores import Cores, measured
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.crawl.worker.worker import Worker
from filterzoo.errors import Reason, Refused, Stage
from filterzoo.network.door import Door
from filterzoo.plugins import load, references
from filterzoo.store.workfolder import WorkFolder

LAYERS = [layer(number, weights(number, 64, 64, 3, 3)) for number in range(5)]


def ignore(_stage: Stage) -> None:
    """Stages are of no matter."""


def test_layers_are_measured_at_once_and_come_in_order():
    together = threading.Barrier(3, timeout=60)

    def waiting(one):
        if one.index < 3:
            together.wait()  # ends only when three are measured at the same time
        return measure(l1_norm=float(one.index))

    free = threading.Semaphore(3)
    with Cores(free).threads() as threads:
        pairs = list(measured(LAYERS, waiting, threads, ignore))
    assert [(one.index, found.l1_norm) for one, found in pairs] == [(number, float(number)) for number in range(5)]
    assert [free.acquire(blocking=False) for _ in range(4)] == [True, True, True, False], "all cores are given back"


def test_without_free_cores_everything_happens_here():
    where = []
    with Cores(threading.Semaphore(0)).threads() as threads:
        list(measured(LAYERS, lambda _: where.append(threading.current_thread()) or measure(), threads, ignore))  # type: ignore[func-returns-value]  # run for its effect
    assert set(where) == {threading.current_thread()}


@pytest.mark.parametrize("free", [0, 4])
def test_what_is_raised_is_what_comes_first(free):
    """Whatever fails sooner: the reason in the ledger is published and depends on no race."""
    second_failed = threading.Event()

    def failing(one):
        if one.index == 1:
            if free:
                assert second_failed.wait(60)
            raise Refused(Reason.MALFORMED, "the first", "here")
        if one.index == 2:
            second_failed.set()
            raise Refused(Reason.MALFORMED, "the second", "there")
        return measure()

    def broken():
        yield from LAYERS[:3]
        raise Refused(Reason.DAMAGED, "a file that ends", "behind them")

    stages: list[Stage] = []
    with Cores(threading.Semaphore(free)).threads() as threads:
        with pytest.raises(Refused, match="the first"):
            list(measured(broken(), failing, threads, stages.append))
        assert stages[-1] is Stage.MEASURE
        with pytest.raises(Refused, match="a file that ends"):
            list(measured(broken(), lambda _: measure(), threads, stages.append))
        assert stages[-1] is Stage.NORMALISE  # type: ignore[comparison-overlap]  # mypy narrows what a call has changed


def test_few_layers_are_in_memory(monkeypatch):
    monkeypatch.setattr(cores, "IN_FLIGHT_BYTES", 2 * LAYERS[0].weights.nbytes)
    read: list[Any] = []
    given: list[Any] = []

    def reading():
        for one in LAYERS:
            read.append(one.index)
            assert len(read) - len(given) <= 3
            yield one

    late = threading.Event()

    def waiting(_):
        late.wait(60)
        return measure()

    with Cores(threading.Semaphore(8)).threads() as threads:
        threading.Timer(0.2, late.set).start()
        for one, _ in measured(reading(), waiting, threads, ignore):
            given.append(one.index)
    assert given == list(range(5))


def crawled(folder: Path, shared: Cores | None) -> list[tuple[str, str | None]]:
    """Names of the fragments, which are hashes of their bytes."""
    manifest = folder / "manifest.yaml"
    plugins = tuple(references(()))
    work = WorkFolder(folder / f"work-{shared is None}")
    with work, Door(folder / "cache") as door:
        setup = WorkerSetup((manifest,), plugins, work.fragments_url, work.scratch, folder / "cache", "cpu")
        worker = Worker(setup, cores=shared)
        try:
            tasks = [one for one in discover(open_sources((manifest,), load(plugins), door)) if isinstance(one, Task)]
            outcomes = [worker.take(task) for task in tasks]
        finally:
            worker.close()
    return [(done.layers_fragment, done.filters_fragment) for done in outcomes]  # type: ignore[union-attr]  # another type ends the test here


def test_more_cores_change_no_byte(tmp_path):
    (tmp_path / "manifest.yaml").write_text(MANIFEST)
    (tmp_path / "zoo").mkdir()
    generator = np.random.default_rng(0)
    state = {f"layer{n}.weight": generator.standard_normal((128, 96, 3, 3), np.float32) for n in range(40)}
    save_file(state | {"tied.weight": state["layer7.weight"]}, tmp_path / "zoo" / "net.safetensors")
    shared = Cores(threading.Semaphore(4))
    assert crawled(tmp_path, shared) == crawled(tmp_path, None)
    assert sum(shared.take() for _ in range(5)) == 4, "all cores are given back"


@pytest.mark.parametrize(
    ("quota", "memory", "expected"),
    [("max 100000", "max", 8), ("150000 100000", "max", 2), ("max 100000", "3500000000", 3), ("50000 100000", "5", 1)],
)
def test_workers_are_as_many_as_cores_and_memory_allow(tmp_path, monkeypatch, quota, memory, expected):
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    monkeypatch.setattr(machine, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8), raising=False)
    (tmp_path / "cpu.max").write_text(f"{quota}\n")
    (tmp_path / "memory.max").write_text(f"{memory}\n")
    (tmp_path / "memory.current").write_text("400000000\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 300000000\nactive_file 0\n")
    (tmp_path / "meminfo").write_text("MemTotal: 99999999 kB\nMemAvailable: 20000000 kB\n")
    assert machine.default_workers() == expected
    if memory != "max":
        (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "meminfo").write_text("MemAvailable: 1000000 kB\n")
    assert machine.default_workers() == 1
