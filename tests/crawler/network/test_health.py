"""A host that is away is asked no more for a while; the others are."""

import errno
import os
import pickle

import pytest
from tests import servers
from tests.servers import WebServer

from filterzoo.errors import Reason, Refused, StorageFailed
from filterzoo.network.door import Door
from filterzoo.network.health import AWAY_AFTER, REST, HostHealth, utc
from filterzoo.network.time_limits import Clocks

NOW = 1_800_000_000.0


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


@pytest.fixture
def other():
    with WebServer() as running:
        yield running


class World:
    """A door of one process, and the time it sees."""

    def __init__(self, folder):
        self.time = NOW
        clocks = Clocks(sleep=lambda _: None, monotonic=lambda: self.time, now=lambda: self.time)
        self.door = Door(folder / "cache", allow_private=True, clocks=clocks, health=HostHealth(folder / "hosts"))

    def refusal(self, url):
        with pytest.raises(Refused) as caught:
            self.door.get_bytes(url)
        return caught.value


@pytest.fixture
def world(tmp_path):
    made = World(tmp_path)
    yield made
    made.door.close()


@pytest.mark.parametrize("fault", [servers.status(503), servers.status(429), servers.reset])
def test_a_host_that_is_away_is_asked_no_more_and_others_are(server, other, world, fault):
    away = server.add("/away", b"x", *[fault] * 100)
    while len(server.requests) < AWAY_AFTER:
        first = world.refusal(away)
        assert "unavailable" not in first.detail
    told = world.refusal(away)
    assert (told.reason, told.where, told.not_before) == (Reason.FETCH_FAILED, server.url, None)
    assert "is unavailable" in told.detail
    assert "next run" in told.detail
    assert str(world.refusal(server.url + "/another")) == str(told)
    assert len(server.requests) == AWAY_AFTER
    assert world.door.get_bytes(other.add("/here", b"here")) == b"here"


def test_a_host_that_nobody_answers_for_is_away_too(world):
    with WebServer() as gone:
        url = gone.add("/x", b"x")
    details = [world.refusal(url).detail for _ in range(5)]
    assert ["unavailable" in detail for detail in details] == [False, False, False, True, True]


def test_processes_of_a_crawl_share_what_they_know(server, world, tmp_path):
    away = server.add("/away", b"x", *[servers.status(503)] * 100)
    for _ in range(3):
        world.refusal(away)
    assert "is unavailable" in World(tmp_path).refusal(away).detail
    assert len(server.requests) == AWAY_AFTER


def test_any_answer_of_a_host_counts(server, world):
    away = server.add("/away", b"x", *[servers.status(503)] * 100)
    for _ in range(5):
        world.refusal(away)
        world.refusal(away)
        assert world.refusal(server.url + "/nothing").reason is Reason.REMOVED


def test_after_a_rest_one_request_tries_the_host_again(server, world):
    away = server.add("/away", b"here", *[servers.status(503)] * (AWAY_AFTER + 1))
    for _ in range(3):
        world.refusal(away)
    world.time += REST + 1
    assert "is unavailable" in world.refusal(away).detail  # it was asked once, and still is
    assert len(server.requests) == AWAY_AFTER + 1
    world.time += REST + 1
    assert world.door.get_bytes(away) == b"here"
    assert world.door.get_bytes(away) == b"here"


def test_a_clock_that_jumps_back_keeps_no_host_away_for_longer(server, world):
    away = server.add("/away", b"here", *[servers.status(503)] * (AWAY_AFTER + 1))
    for _ in range(3):
        world.refusal(away)
    world.time -= 1_000_000
    assert "is unavailable" in world.refusal(away).detail  # it was asked once
    assert len(server.requests) == AWAY_AFTER + 1
    world.time += REST + 1
    assert world.door.get_bytes(away) == b"here"


def test_a_host_that_asks_for_a_long_wait_is_asked_once(server, world):
    late = server.add("/late", b"x", servers.status(429, Retry_After="4000"))
    first, second = world.refusal(late), world.refusal(server.url + "/another")
    assert (first.not_before, second.not_before) == (utc(NOW + 4000), utc(NOW + 4000))
    assert "4000 s" in first.detail
    assert "asks to wait until 2027-01-15T09:06:40Z" in second.detail
    assert len(server.requests) == 1
    assert pickle.loads(pickle.dumps(second)).not_before == second.not_before
    world.time += 4001
    assert world.door.get_bytes(late) == b"x"


@pytest.mark.parametrize("text", ["", "[]", "null", '["x", 0, 0]', "[1, 1e999, 0"])
def test_a_note_that_cannot_be_read_is_none(server, world, tmp_path, text):
    url = server.add("/x", b"here", servers.status(503))
    world.door.get_bytes(url)
    world.door.transport.health.failed(url, NOW)
    for note in (tmp_path / "hosts").glob("*[0-9a-f]"):
        note.write_text(text)
    assert world.door.get_bytes(url) == b"here"


def test_far_times_can_be_printed():
    assert utc(0) == "1970-01-01T00:00:00Z"
    assert utc(1e300) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_under_the_notes_ends_the_run(server, world, monkeypatch, number):
    """It is no checkpoint's fault. The first file that is opened for a note is its lock."""
    opened = os.open

    def fail(path, *arguments, **keywords):
        if str(path).endswith(".lock"):
            raise OSError(number, os.strerror(number), path)
        return opened(path, *arguments, **keywords)

    url = server.add("/x", b"x", *[servers.status(503)] * 100)
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(StorageFailed, match="notes of hosts"):
            world.door.get_bytes(url)
