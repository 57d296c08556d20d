"""What the Ray executor is made of, without Ray: batches, pace, what travels, and a task on a node."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.servers import WebServer

import filterzoo
from filterzoo import Artifact, Checkpoint, Door, ExecutorOptions, PluginReference, StartError, plugins
from filterzoo.crawl.discovery import discover, open_sources
from filterzoo.crawl.executor import Running
from filterzoo.crawl.task import Task, WorkerSetup
from filterzoo.errors import Reason, Stage
from filterzoo.outcome import Done, LedgerEntry
from filterzoo.store.fragments import FragmentStore
from filterzoo_plugins.executors.ray import batches, cluster, node
from filterzoo_plugins.executors.ray.batches import LAYER_BYTES, MOST, SMALL, Batches, Needs
from filterzoo_plugins.executors.ray.executor import RayExecutor
from filterzoo_plugins.executors.ray.shared import ClusterPace, ClusterState
from filterzoo_plugins.executors.ray.watch import Watch


class Actor:
    """A handle whose methods run here."""

    def __init__(self) -> None:
        self.state = ClusterState()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.state, name)

        class Method:
            def remote(self, *arguments: Any) -> Any:
                done: Future[Any] = Future()
                done.set_result(method(*arguments))
                return type("Reference", (), {"future": lambda _: done})()

        return Method()


def task(ident: str, *sizes: int | None) -> Task:
    artifacts = tuple(Artifact(url=f"https://zoo.example/{ident}", size=size) for size in sizes)
    return Task(Checkpoint(id=ident, revision="1", source="zoo", artifacts=artifacts), 0, None)


def names(drawn: batches.Batch | None) -> list[str]:
    return [one.checkpoint.id for one in drawn.tasks]


def test_small_checkpoints_go_together_once_all_cores_are_busy() -> None:
    tasks = [task(f"s{number}", 10) for number in range(20)]
    tasks += [task("large", SMALL), task("larger", SMALL + 1), task("unknown", None), task("parts", SMALL - 1, 2)]
    drawn = Batches([*tasks, task("last", 1), task("very last", 1)])
    assert names(drawn.draw(Needs(), are_busy=False)) == ["s0"]
    assert names(drawn.draw(Needs(), are_busy=True)) == [f"s{number}" for number in range(1, 1 + MOST)]
    assert names(drawn.draw(Needs(), are_busy=True)) == ["s17", "s18", "s19", "large"]
    assert [names(drawn.draw(Needs(), are_busy=True)) for _ in range(3)] == [["larger"], ["unknown"], ["parts"]]
    assert names(drawn.draw(Needs(), are_busy=True)) == ["last", "very last"]
    assert drawn.draw(Needs(), are_busy=True) is None


def test_tasks_are_drawn_only_when_they_are_wanted() -> None:
    """Discovery asks a server for each page."""
    seen = []
    drawn = Batches(seen.append(number) or task(str(number), None) for number in range(9))  # type: ignore[func-returns-value]  # run for its effect
    drawn.draw(Needs(), are_busy=True)
    assert seen == [0]


def test_a_large_layer_gets_memory_and_a_whole_gpu() -> None:
    usual = Needs(gpus=0.25)
    larger = usual.larger(2 * LAYER_BYTES, most=10**12)
    assert larger.memory >= batches.BASE
    assert (larger.layer_bytes, larger.gpus) == (2 * LAYER_BYTES, 1.0)
    assert Needs().larger(10**12, most=10**9).memory == 10**9, "no node has more: it would wait for ever"
    assert Needs().larger(10**12, most=10**9).gpus == 0


def test_a_host_is_asked_at_its_pace_by_all_nodes_together() -> None:
    """The clock is the actor's: that of the node is not looked at."""
    waits: list[float] = []
    paces = [ClusterPace(state) for state in [Actor()] * 3]
    for pace in paces * 2:
        pace.wait("zenodo.org", 1.8, lambda: pytest.fail("the node's clock"), waits.append)
    assert waits == pytest.approx([1.8 * number for number in range(1, 6)], abs=0.5)
    paces[0].wait("huggingface.co", 0.0, lambda: pytest.fail("the node's clock"), waits.append)
    paces[1].hold("zenodo.org", 50.0, lambda: 0.0)
    paces[2].wait("zenodo.org", 1.8, lambda: 0.0, waits.append)
    assert len(waits) == 6
    assert waits[-1] == pytest.approx(50, abs=0.5)


class FakeRay:
    """Answers are there at once, or lost with the node of the actor."""

    class exceptions:  # noqa: N801  # a module of Ray
        RayError = ConnectionError

    is_lost = False

    def wait(self, references: list[Any], timeout: float) -> tuple[list[Any], list[Any]]:
        return references, []

    def get(self, reference: Any) -> Any:
        if self.is_lost:
            raise self.exceptions.RayError
        return reference.future().result()


def test_running_checkpoints_are_those_the_nodes_report_of_batches_in_flight() -> None:
    ray, state = FakeRay(), Actor()
    shown: list[Running] = []
    watch = Watch(ray, state, shown.append)
    first, second, third = (watch.submitted(size) for size in (1, 16, 3))
    state.begin.remote(first, "a", "zoo/one")
    state.begin.remote(second, "b", "zoo/two")
    watch.look()
    watch.look()
    assert shown == [Running({"a": ("zoo/one",), "b": ("zoo/two",)}, waiting=3)]
    watch.ended(first)
    state.begin.remote(second, "a", "zoo/three")  # Ray started it again elsewhere
    watch.look()
    assert shown[-1] == Running({"a": ("zoo/three",)}, waiting=3)
    watch.look()
    assert first not in state.state.running([]), "the actor forgets what ended"
    ray.is_lost = True
    watch.look()
    ray.is_lost = False
    watch.ended(third)
    watch.look()
    assert shown[-1].waiting == 0


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    for name, width in (("a", 2), ("b", 40)):
        save_file({"w.weight": np.full((width, 4, 3, 3), 0.5, "<f4")}, tmp_path / "here" / f"{name}.safetensors")
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.yaml").write_text(
            json.dumps({"name": folder, "sources": [{"source": "local", "paths": ["../here/*"], "license": "mit"}]})
        )
        (tmp_path / folder / "mine.py").write_text(f"# of {folder}\n")
    return tmp_path


def setup_of(zoo: Path) -> WorkerSetup:
    return WorkerSetup(
        manifests=(zoo / "one" / "m.yaml", zoo / "two" / "m.yaml"),
        plugins=(
            *plugins.references(),
            PluginReference("mine", file=str(zoo / "one" / "mine.py")),
            PluginReference("mine", file=str(zoo / "two" / "mine.py")),
        ),
        fragments_url=str(zoo / "store" / "fragments"),
        scratch=zoo / "scratch",
        cache=zoo / "cache",
        device="cpu",
    )


@pytest.fixture
def job(zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[node.Job]:
    """As a node has it: the working folder is what travelled, and the cache its own."""
    setup = setup_of(zoo)
    there = tmp_path / "there"
    cluster._gather(ExecutorOptions(manifests=setup.manifests, plugins=setup.plugins), there)
    monkeypatch.chdir(there)
    monkeypatch.setenv("FILTERZOO_CACHE", str(tmp_path / "node"))
    monkeypatch.setattr(node, "_this_process", {})
    yield node.Job(cluster.travelled(setup))
    for worker in node._this_process.values():
        worker.close()


def tasks_of(zoo: Path) -> list[Task]:
    setup = setup_of(zoo)
    with Door(zoo / "cache") as door:
        found = discover(open_sources(setup.manifests[:1], plugins.load(setup.plugins), door))
    return [task for task in found if isinstance(task, Task)]


def test_files_of_one_name_travel_apart_and_folders_stay_what_they_are(zoo: Path, job: node.Job) -> None:
    assert [path.read_text() for path in job.setup.manifests] == [
        (zoo / folder / "m.yaml").read_text() for folder in ("one", "two")
    ]
    files = [Path(one.file) for one in job.setup.plugins if one.file]
    assert [file.read_text() for file in files] == ["# of one\n", "# of two\n"]
    assert job.setup.folders == (zoo / "one", zoo / "two")
    assert job.setup.cache == zoo / "cache", "each node has its own; see `node._new_worker`"


def test_nothing_of_the_environment_travels(zoo: Path, job: node.Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    there = zoo / "elsewhere"
    cluster._gather(ExecutorOptions(manifests=job.setup.manifests, plugins=job.setup.plugins), there)
    assert not any(b"hf_secret" in path.read_bytes() for path in there.rglob("*") if path.is_file())


def test_a_batch_on_a_node_is_stored_like_here(zoo: Path, job: node.Job) -> None:
    report = node.take(job, tasks_of(zoo), LAYER_BYTES, Actor())
    assert (report.fatal, report.larger, report.node) == ("", [], socket.gethostname())
    assert [(place, type(outcome)) for place, outcome in report.outcomes] == [(0, Done), (1, Done)]
    store = FragmentStore(str(zoo / "store" / "fragments"), zoo / "scratch")
    assert all(store.exists(outcome.layers_fragment) for _, outcome in report.outcomes)  # type: ignore[union-attr]  # another type ends the test here
    assert not (zoo / "scratch").exists(), "a node writes into folders of its own"
    assert len(node._this_process) == 1
    node.take(job, [], LAYER_BYTES, Actor())
    assert len(node._this_process) == 1


def test_a_layer_that_memory_was_not_reserved_for_is_left_for_another_task(zoo: Path, job: node.Job) -> None:
    report = node.take(job, tasks_of(zoo), 2 * 4 * 9 * 4, Actor())
    assert [place for place, _ in report.outcomes] == [0]
    assert report.larger == [(1, 40 * 4 * 9 * 4)]
    report = node.take(job, tasks_of(zoo)[1:], report.larger[0][1], Actor())
    assert [type(outcome) for _, outcome in report.outcomes] == [Done]


def test_a_file_that_only_the_crawl_has_is_said_to_be_so(zoo: Path, job: node.Job) -> None:
    tasks = tasks_of(zoo)
    (zoo / "here" / "a.safetensors").unlink()
    ((_, refused), (_, done)) = node.take(job, tasks, LAYER_BYTES, Actor()).outcomes
    assert isinstance(refused, LedgerEntry)
    assert refused.reason is Reason.FETCH_FAILED
    assert f"node {socket.gethostname()} has no such file" in refused.detail
    assert "put it where all nodes see it" in refused.detail
    assert isinstance(done, Done)


def test_a_node_with_another_filterzoo_ends_the_crawl(zoo: Path, job: node.Job) -> None:
    report = node.take(replace(job, version="0.0.1"), tasks_of(zoo), LAYER_BYTES, Actor())
    assert f"has filterzoo {filterzoo.__version__}, the crawl 0.0.1; install the same there" in report.fatal
    assert report.outcomes == []


def test_a_store_that_cannot_be_written_to_ends_the_crawl(zoo: Path, job: node.Job) -> None:
    broken = replace(job, setup=replace(job.setup, fragments_url="s3://key:secret@bucket/fragments"))
    report = node.take(broken, tasks_of(zoo), LAYER_BYTES, Actor())
    assert "holds a password" in report.fatal
    assert "secret" not in report.fatal


def test_a_checkpoint_that_is_tried_alone_reports_its_stages(zoo: Path, job: node.Job) -> None:
    state = Actor()
    node.take(job, tasks_of(zoo)[:1], None, state, is_alone=True)
    assert state.state.stage() is Stage.STORE
    assert node._this_process == {}


def test_what_dead_processes_left_on_a_node_is_removed(tmp_path: Path) -> None:
    machine = socket.gethostname()
    left = [tmp_path / f"{machine}.{number}" for number in (2**22 + 1, os.getppid())]
    for folder in (*left, tmp_path / "elsewhere.1"):
        folder.mkdir()
    own = node._scratch(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([left[1], tmp_path / "elsewhere.1", own])


def silent_port() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_without_a_store_nodes_have_nowhere_to_write() -> None:
    with pytest.raises(StartError, match="name a store that all of them reach: --store s3://"):
        RayExecutor(ExecutorOptions())


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StartError, match=r"pip install 'filterzoo\[ray\]'"):
        RayExecutor(ExecutorOptions(store="s3://bucket"))


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_without_ray_is_reported_at_once(form, monkeypatch):
    grpc = pytest.importorskip("grpc")
    running = grpc.server(ThreadPoolExecutor(1))
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    cluster.check_reachable(form.format(port))
    running.stop(None).wait()
    with WebServer() as web, pytest.raises(StartError, match="no Ray, since it speaks no gRPC"):
        cluster.check_reachable(form.format(urlsplit(web.url).port))
    monkeypatch.setattr(cluster, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(StartError, match="TimeoutError"):
        cluster.check_reachable(form.format(silent.getsockname()[1]))
    port = silent_port()
    with pytest.raises(StartError, match=f"--ray-address .*:{port}: no cluster to use: ConnectionRefusedError"):
        cluster.check_reachable(form.format(port))


@pytest.mark.parametrize("address", ["auto", "local"])
def test_an_address_that_ray_finds_is_left_to_it(address):
    cluster.check_reachable(address)


@pytest.mark.parametrize("address", ["127.0.0.1:99999999", "127.0.0.1:x"])
def test_an_invalid_address_is_reported(address):
    with pytest.raises(StartError, match="no cluster to use"):
        cluster.check_reachable(address)
