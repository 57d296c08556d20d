"""Crawls on a Ray cluster of three nodes with an S3 server: nodes, workers and the crawl itself are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.end_to_end.test_crawl import hashes
from tests.object_store import ObjectStore
from tests.program import PROGRAM, Ran
from tests.ray_cluster import RayCluster
from tests.servers import WebServer

for package in ("ray", "moto", "s3fs"):
    pytest.importorskip(package, reason="needs the extra `cluster`")

pytestmark = pytest.mark.cluster

NETWORKS = 12
TOKEN = "hf_a_token_that_is_in_no_log"
PLUGIN = """
import os
import signal
import time

from filterzoo import hookimpl
from filterzoo_plugins.sources.own_files.urls import UrlsSource


class Slow(UrlsSource):
    "Takes a while, on any node; with one file the worker dies."
    name = "slow"

    def open(self, artifact):
        time.sleep(0.5)
        if "deadly" in artifact.url:
            os.kill(os.getpid(), signal.SIGKILL)
        assert os.environ["HF_TOKEN"], "tokens are in the environment of the nodes"
        return super().open(artifact)


@hookimpl
def filterzoo_sources():
    return [Slow]
"""


@dataclass(frozen=True)
class Place:
    """A zoo on loopback, a store, and a cluster."""

    folder: Path
    s3: ObjectStore
    cluster: RayCluster

    def command(self, work: str, store: str, manifest: str) -> list[str]:
        where = ("--executor", "ray", "--ray-address", self.cluster.address, "--store", f"s3://zoo/{store}")
        return [str(PROGRAM), "crawl", manifest, "--plugin", "slow.py", "--workdir", work, *where]

    def start(self, work: str, store: str, manifest: str = "manifest.yaml", *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command(work, store, manifest), *more],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def crawl(self, work: str, store: str, manifest: str = "manifest.yaml") -> Ran:
        return ended(self.start(work, store, manifest))

    def published(self, work: str, store: str) -> dict[str, str]:
        arguments = ("--workdir", work, "--store", f"s3://zoo/{store}")
        return self.publish(work, *arguments)

    def publish(self, name: str, *arguments: str) -> dict[str, str]:
        out = self.folder / f"out-{name}"
        done = subprocess.run(
            [PROGRAM, "publish", out, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return hashes(out)

    @property
    def environment(self) -> dict[str, str]:
        return environment(self.folder, self.s3)

    def stored(self, store: str) -> set[str]:
        """The layers fragments that are there."""
        found = (path for method, path in self.s3.requests if method == "PUT" and f"/zoo/{store}/fragments/" in path)
        return {path for path in found if path.endswith(".arrow")}


def environment(folder: Path, s3: ObjectStore) -> dict[str, str]:
    return {**os.environ, **s3.environment, "FILTERZOO_CACHE": str(folder / "cache"), "HF_TOKEN": TOKEN}


def ended(crawling: subprocess.Popen[str]) -> Ran:
    out, err = crawling.communicate(timeout=300)
    assert "Traceback" not in err, err
    return Ran(crawling.returncode, out, err)


def text_of(file: Path) -> str:
    """Empty where it is not there."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "slow.py").write_text(PLUGIN)
    with WebServer() as web, ObjectStore() as s3:
        files = []
        for number in range(NETWORKS):
            weights = np.random.default_rng(number).standard_normal((8, 4, 3, 3)).astype("<f4")
            save_file({"w.weight": weights}, folder / "file")
            url = web.add(f"/{number}.safetensors", (folder / "file").read_bytes())
            files.append({"url": url, "name": f"net{number}", "license": "mit"})
        deadly = {"url": web.add("/deadly.safetensors", b"x" * 100), "name": "deadly", "license": "mit"}
        for name, listed in (("manifest", files), ("deadly", [*files[:3], deadly, *files[3:5]])):
            sources = [{"source": "slow", "files": listed}]
            (folder / f"{name}.yaml").write_text(json.dumps({"name": "zoo", "sources": sources}))
        with (
            tempfile.TemporaryDirectory(prefix="ray-") as short,  # sockets lie in it, whose paths are short
            RayCluster(3, Path(short), environment(folder, s3)) as cluster,
        ):
            yield Place(folder, s3, cluster)


@pytest.fixture(scope="module")
def expected(place: Place) -> dict[str, str]:
    """What one machine publishes."""
    command = [PROGRAM, "crawl", "manifest.yaml", "--plugin", "slow.py", "--workdir", "own"]
    subprocess.run(command, cwd=place.folder, env=place.environment, check=True, capture_output=True)  # type: ignore[arg-type]  # of a type that the test knows
    return place.publish("own", "--workdir", "own")


def test_three_nodes_publish_the_bytes_of_one_machine(place: Place, expected: dict[str, str]) -> None:
    """The plugin and the manifest travel; the token does not, and no log of Ray has it. Metrics say what runs."""
    crawling = place.start("three", "three", "manifest.yaml", "--metrics", "x.prom")
    running, node = place.folder / "x.running.prom", f'filterzoo_running_checkpoints{{node="{socket.gethostname()}"}}'
    wait_until(lambda: node in text_of(running))
    ran = ended(crawling)
    assert not running.exists()
    assert "filterzoo_run_checkpoints" in (place.folder / "x.prom").read_text()
    assert ran.code == 0, ran.err
    assert f"{NETWORKS} new" in ran.out
    assert place.published("three", "three") == expected
    texts = [path.read_bytes() for path in place.cluster.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(texts) > 10
    assert not any(TOKEN.encode() in text for text in texts)
    again = place.crawl("three", "three")
    assert f"0 new, {NETWORKS} already there" in again.out


def test_a_node_that_is_killed_costs_nothing(place: Place, expected: dict[str, str]) -> None:
    crawling = place.start("node", "node")
    wait_until(lambda: len(place.stored("node")) >= 2)
    place.cluster.kill_a_node()
    assert len(place.stored("node")) < NETWORKS
    ran = ended(crawling)
    place.cluster.add_a_node()
    assert ran.code == 0, ran.err
    assert place.published("node", "node") == expected


def test_a_crawl_that_is_killed_goes_on_from_another_machine(place: Place, expected: dict[str, str]) -> None:
    crawling = place.start("first", "driver")
    wait_until(lambda: len(place.stored("driver")) >= 3)
    crawling.kill()
    crawling.communicate()
    assert len(place.stored("driver")) < NETWORKS
    ran = place.crawl("second", "driver")
    assert ran.code == 0, ran.err
    new, known = map(int, re.search(r"(\d+) new, (\d+) already", ran.out).groups())
    assert new + known == NETWORKS
    assert known >= 3
    assert place.published("second", "driver") == expected


def test_a_store_that_throttles_and_is_slow_costs_time_alone(place: Place, expected: dict[str, str]) -> None:
    """503 SlowDown and slow answers, to the nodes and to the crawl."""
    place.s3.refuse(25, after=8)
    place.s3.delay = 0.05
    try:
        ran = place.crawl("throttled", "throttled")
    finally:
        place.s3.delay = 0.0
    assert ran.code == 0, ran.err
    assert place.s3.refused == 25
    assert place.published("throttled", "throttled") == expected


def test_a_checkpoint_that_kills_its_worker_affects_no_other(place: Place) -> None:
    ran = place.crawl("deadly", "deadly", "deadly.yaml")
    assert ran.code == 1
    assert re.search(r"failed +slow/deadly: crashed: the worker process died of it, alone", ran.out + ran.err)
    assert "5 new" in ran.out


def test_ctrl_c_ends_at_once_and_keeps_what_is_done(place: Place) -> None:
    crawling = place.start("stopped", "stopped")
    wait_until(lambda: len(place.stored("stopped")) >= 2)
    crawling.send_signal(signal.SIGINT)
    started = time.monotonic()
    ran = ended(crawling)
    assert time.monotonic() - started < 15
    assert ran.code == 130
    assert "kept in stopped; run the same command again to continue" in ran.err
    assert len([line for line in ran.err.splitlines() if line.startswith("filterzoo:")]) == 1
