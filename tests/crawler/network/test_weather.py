"""Each kind of bad answer in turn, on every path that reads: the bytes are those of calm weather, in few requests."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from safetensors.numpy import save
from tests import servers
from tests.program import filterzoo
from tests.servers import Answer, Fault, WebServer

from filterzoo.errors import Refused
from filterzoo.network.door import Door
from filterzoo.network.health import AWAY_AFTER, REST, HostHealth
from filterzoo.network.time_limits import Clocks
from filterzoo.records import Artifact

BODY = random.Random(1).randbytes(300_000)
NOW = 1_800_000_000.0


def says_nothing(answer: Answer) -> bool:
    """Longer than the client waits."""
    time.sleep(0.6)
    answer.close_connection = True
    return True


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


def door_in(folder: Path) -> Door:
    clocks = Clocks(sleep=lambda _: None, monotonic=time.monotonic, now=lambda: NOW)
    return Door(folder, allow_private=True, clocks=clocks, timeout=httpx.Timeout(0.3))


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "download"])
@pytest.mark.parametrize(
    "fault",
    [
        servers.status(408),
        servers.status(429, Retry_After="3"),
        servers.status(429, Retry_After="Fri, 15 Jan 2027 08:00:07 GMT"),
        servers.status(429, Retry_After="9" * 400),
        servers.status(500),
        servers.status(502),
        servers.status(503, Retry_After="-1"),
        servers.status(504),
        says_nothing,
        servers.reset,
        servers.short(1000),
        servers.ignores_range,
    ],
    ids=["408", "seconds", "date", "absurd", "500", "502", "503", "504", "silence", "reset", "short", "200-to-a-range"],
)
def test_an_answer_that_fails_once_costs_one_request_more(
    server: WebServer, tmp_path: Path, fault: Fault, *, ranges: bool
) -> None:
    url = server.add("/w.bin", BODY, ranges=ranges)
    counts = []
    for folder in ("calm", "bad"):
        server.requests.clear()
        with door_in(tmp_path / folder) as door, door.open(Artifact(url=url)) as file:
            assert file.read(0, 100_000) == BODY[:100_000]
            assert file.read(100_000, 200_000) == BODY[100_000:]
        counts.append(len(server.requests))
        assert server.resources["/w.bin"].faults == []
        server.resources["/w.bin"].faults = [fault]
    assert counts[1] - counts[0] <= 2


def test_a_host_that_is_down_for_an_hour_stops_no_other(server: WebServer, tmp_path: Path) -> None:
    """A file of it is wanted every ten seconds, and each time one of another host: each of the other comes."""
    seen = NOW
    clocks = Clocks(sleep=lambda _: None, monotonic=lambda: seen, now=lambda: seen)
    with (
        WebServer() as other,
        Door(tmp_path, allow_private=True, clocks=clocks, health=HostHealth(tmp_path / "h")) as door,
    ):
        down = server.add("/down", b"up again", *[servers.status(503)] * 1000)
        here = other.add("/here", b"here")
        told = []
        for seen in range(int(NOW), int(NOW) + 3600, 10):  # noqa: B007  # the clocks read it
            with pytest.raises(Refused) as caught:
                door.get_bytes(down)
            told.append("is unavailable" in caught.value.detail)
            assert door.get_bytes(here) == b"here"
        assert told.index(True) < AWAY_AFTER
        assert all(told[AWAY_AFTER:])
        assert len(server.requests) <= AWAY_AFTER + 3600 / REST
        server.resources["/down"].faults.clear()
        seen += int(REST) + 1
        assert door.get_bytes(down) == b"up again"


def test_a_host_with_an_address_of_ipv6_is_read(tmp_path: Path) -> None:
    try:
        server = WebServer("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        url = server.add("/w.bin", BODY)
        with door_in(tmp_path / "private") as door, door.open(Artifact(url=url)) as file:
            assert file.read(0, len(BODY)) == BODY
        with Door(tmp_path / "public") as public, pytest.raises(Refused, match="inside"):
            public.get_bytes(url)


@pytest.mark.slow
def test_a_crawl_makes_at_most_1_3_times_the_necessary_requests(server: WebServer, tmp_path: Path) -> None:
    """Of a file of 4 MB, the head and the only convolution far behind it have to come: two requests."""
    entries = []
    for number in range(10):
        generator = np.random.default_rng(number)
        arrays = {
            "a.weight": generator.standard_normal((1024, 1024)).astype(np.float32),
            "z.weight": generator.standard_normal((64, 64, 3, 3)).astype(np.float32),
        }
        url = server.add(f"/{number}.safetensors", save(arrays))
        entries.append(f'{{url: "{url}", name: n{number}, license: mit}}')
    manifest = f"name: few\nsources:\n  - source: urls\n    files: [{', '.join(entries)}]\n"
    (tmp_path / "few.yaml").write_text(manifest)
    ran = filterzoo("crawl", "few.yaml", "--allow-private", "--workers", "2", "--json", cwd=tmp_path)
    assert (ran.code, ran.document["checkpoints"]["done"]) == (0, 10), ran.err
    assert len(server.requests) <= 1.3 * 2 * 10
