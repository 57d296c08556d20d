import errno
import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests import servers
from tests.servers import WebServer

from filterzoo.errors import Reason, Refused, StorageFailed
from filterzoo.network.addresses import AddressPolicy, is_inside, shown
from filterzoo.network.door import Door
from filterzoo.network.files.cache import UNCHECKED_SHARE, Cache
from filterzoo.network.files.ranges import READ_AHEAD
from filterzoo.network.time_limits import Clocks
from filterzoo.records import Artifact

BODY = random.Random(1).randbytes(500_000)
SHA256 = hashlib.sha256(BODY).hexdigest()


class Watch:
    """Clocks that stand still but for the pauses asked for."""

    def __init__(self):
        self.pauses = []
        self.time = 1_800_000_000.0

    def sleep(self, seconds):
        self.pauses.append(seconds)
        self.time += seconds

    def clocks(self):
        return Clocks(sleep=self.sleep, monotonic=lambda: self.time, now=lambda: self.time)


@pytest.fixture
def server():
    with WebServer() as running:
        yield running


@pytest.fixture
def watch():
    return Watch()


@pytest.fixture
def door(tmp_path, watch):
    with Door(tmp_path / "cache", allow_private=True, clocks=watch.clocks()) as opened:
        yield opened


def refusal(action, *arguments, **named):
    with pytest.raises(Refused) as caught:
        action(*arguments, **named)
    assert "\n" not in str(caught.value)
    return caught.value


def files_in(door):
    return sorted(path.name for path in (door.cache.folder / "files").glob("*/*"))


# Files by ranges


def test_a_ranged_file_gives_any_byte_range_and_moves_little_else(server, door):
    url = server.add("/w.bin", BODY)
    with door.open(Artifact(url=url)) as file:
        assert file.size == len(BODY)
        assert file.read(0, 10) == BODY[:10]
        assert file.read(100, 4000) == BODY[100:4100]
        assert file.read(200_000, 150_000) == BODY[200_000:350_000]
        assert file.read(len(BODY) - 22, 22) == BODY[-22:]
        assert file.read(len(BODY) - 10, 10) == BODY[-10:]
        assert file.read(7, 0) == b""
    assert [asked for _, asked, _ in server.requests] == [
        "bytes=0-65535",
        "bytes=200000-349999",
        "bytes=499978-499999",
    ]
    assert server.sent == 65_536 + 150_000 + 22
    assert not files_in(door)


def test_small_reads_are_answered_from_what_was_read_ahead(server, door):
    url = server.add("/w.bin", BODY)
    with door.open(Artifact(url=url)) as file:
        for offset in range(300_000, 360_000, 1000):
            assert file.read(offset, 16) == BODY[offset : offset + 16]
    assert len(server.requests) == 2


def test_a_read_outside_the_file_is_refused_without_asking(server, door):
    with door.open(Artifact(url=server.add("/w.bin", BODY))) as file:
        assert refusal(file.read, len(BODY) - 1, 2).reason is Reason.MALFORMED
        assert refusal(file.read, -1, 2).reason is Reason.MALFORMED
    assert len(server.requests) == 1


def test_a_change_midway_is_noticed(server, door):
    other = BODY[::-1]
    url = server.add("/w.bin", BODY)
    with door.open(Artifact(url=url)) as file:
        server.resources["/w.bin"].faults.append(servers.becomes(other))
        assert refusal(file.read, 200_000, 100).reason is Reason.CHANGED
    assert "If-Range" in server.requests[-1][2]


def test_a_change_midway_is_noticed_without_validators_when_the_size_differs(server, door):
    url = server.add("/w.bin", BODY, etag=False)
    with door.open(Artifact(url=url)) as file:
        server.resources["/w.bin"].body = BODY + b"more"
        assert refusal(file.read, 200_000, 100).reason is Reason.CHANGED


def test_a_file_that_vanishes_midway_is_removed(server, door):
    with door.open(Artifact(url=server.add("/w.bin", BODY))) as file:
        del server.resources["/w.bin"]
        assert refusal(file.read, 200_000, 100).reason is Reason.REMOVED


@pytest.mark.parametrize(
    "fault",
    [
        servers.status(503),
        servers.status(429, Retry_After="1"),
        servers.reset,
        servers.short(1000),
        servers.ignores_range,
        servers.wrong_range("bytes 0-99/500000"),
        servers.wrong_range("bytes 200000-200099/500000"),
        servers.wrong_range("bytes */500000"),
        servers.wrong_range("octets 200000-299999/500000"),
    ],
)
def test_a_fault_during_a_read_is_outlived(server, door, fault):
    with door.open(Artifact(url=server.add("/w.bin", BODY))) as file:
        server.resources["/w.bin"].faults += [fault, fault]
        assert file.read(200_000, 100_000) == BODY[200_000:300_000]
    assert 3 <= len(server.requests) <= 4


def test_a_read_goes_on_where_the_connection_broke(server, door):
    with door.open(Artifact(url=server.add("/w.bin", BODY))) as file:
        server.resources["/w.bin"].faults.append(servers.short(70_000))
        assert file.read(100_000, 100_000) == BODY[100_000:200_000]
    assert server.requests[-1][1] == "bytes=170000-199999"


def test_a_server_that_never_recovers_is_given_up(server, door, watch):
    url = server.add("/w.bin", BODY, *[servers.status(503)] * 50)
    error = refusal(door.open, Artifact(url=url))
    assert error.reason is Reason.FETCH_FAILED
    assert "503" in str(error)
    assert "/w.bin" in str(error)
    assert len(server.requests) == 5
    assert watch.pauses == sorted(watch.pauses)


def test_a_size_that_differs_from_the_published_one_is_refused(server, door):
    url = server.add("/w.bin", BODY)
    assert refusal(door.open, Artifact(url=url, size=len(BODY) + 1)).reason is Reason.HASH_MISMATCH


def test_the_file_beside_a_remote_one_is_its_sibling(server, door):
    url = server.add("/zoo/a.onnx", BODY)
    server.add("/zoo/a%20b%23.data", b"side file")
    with door.open(Artifact(url=url)) as file:
        with file.beside("a b#.data") as side:
            assert side.read(0, side.size) == b"side file"
        assert refusal(file.beside, "../secret").reason is Reason.UNSAFE
        assert refusal(file.beside, "missing").reason is Reason.REMOVED


def test_an_archive_member_is_not_the_doors_business(server, door):
    url = server.add("/a.zip", b"the whole archive")
    with door.open(Artifact(url=url, member="x")) as file:
        assert file.read(0, file.size) == b"the whole archive"


# Whole downloads


@pytest.mark.parametrize(
    ("fault", "requests"),
    [(servers.gzipped_range, 2), (servers.wrong_range("bytes 5-104/500000"), 2), (servers.ignores_range, 1)],
)
def test_a_server_without_usable_ranges_gets_one_whole_download(server, door, fault, requests):
    """With one request if the first answer brings the whole file."""
    url = server.add("/w.bin", BODY, fault, ranges=False)
    with door.open(Artifact(url=url, size=len(BODY), sha256=SHA256)) as file:
        assert file.read(1234, 4321) == BODY[1234:5555]
    assert files_in(door) == [SHA256]
    with door.open(Artifact(url=url, sha256=SHA256)) as file:
        assert file.size == len(BODY)
    assert len(server.requests) == requests


def test_a_small_file_of_a_server_without_ranges_is_kept_in_memory(server, door):
    """As the first bytes of a file with ranges are, of the same number: writing and syncing it would take longer."""
    for length, kept in ((READ_AHEAD, 0), (READ_AHEAD + 1, 1)):
        url = server.add(f"/{length}.bin", BODY[:length], ranges=False)
        with door.open(Artifact(url=url, size=length)) as file:
            assert file.read(0, length) == BODY[:length]
        assert len(files_in(door)) == kept
    assert len(server.requests) == 2
    assert (
        refusal(door.open, Artifact(url=server.add("/a", b"12", ranges=False), size=3)).reason is Reason.HASH_MISMATCH
    )
    assert refusal(door.bounded(1).open, Artifact(url=server.add("/b", b"12", ranges=False))).reason is Reason.TOO_LARGE


def test_a_whole_answer_with_another_hash_than_published_is_refused(server, door):
    url = server.add("/w.bin", BODY, servers.ignores_range, servers.ignores_range)
    assert refusal(door.open, Artifact(url=url, sha256="0" * 64)).reason is Reason.HASH_MISMATCH
    assert files_in(door) == []


def test_what_another_process_downloads_is_waited_for(server, door):
    """The first answer is not taken then: both would write one file."""
    is_locked, is_over = threading.Event(), threading.Event()

    def download() -> None:
        with door.cache.lock(url):
            is_locked.set()
            is_over.wait()

    def answers_while_it_is_locked(answer: servers.Answer) -> bool:
        threading.Timer(1, is_over.set).start()
        return servers.ignores_range(answer)

    url = server.add("/w.bin", BODY, answers_while_it_is_locked)
    threading.Thread(target=download).start()
    is_locked.wait()
    with door.open(Artifact(url=url)) as file:
        assert file.read(0, file.size) == BODY
    assert len(server.requests) == 2


def test_side_files_of_a_whole_download_are_asked_of_the_server(server, door):
    url = server.add("/zoo/a.onnx", BODY, ranges=False)
    server.add("/zoo/a.data", b"side", ranges=False)
    with door.open(Artifact(url=url)) as file, file.beside("a.data") as side:
        assert side.read(0, 4) == b"side"
        assert refusal(file.beside, SHA256).reason is Reason.REMOVED


def test_an_empty_file_is_a_file(server, door):
    with door.open(Artifact(url=server.add("/empty", b""))) as file:
        assert file.size == 0


def test_a_download_resumes_where_it_broke(server, door):
    url = server.add("/w.bin", BODY, servers.short(300_000), servers.short(100_000))
    assert door.download(url, SHA256, len(BODY)).read_bytes() == BODY
    assert [asked for _, asked, _ in server.requests] == [None, "bytes=300000-", "bytes=400000-"]


def test_a_download_resumes_in_another_process_life(server, door, tmp_path, watch):
    url = server.add("/w.bin", BODY, servers.short(300_000), *[servers.status(503)] * 4)
    assert refusal(door.download, url).reason is Reason.FETCH_FAILED
    with Door(tmp_path / "cache", allow_private=True, clocks=watch.clocks()) as later:
        assert later.download(url).read_bytes() == BODY
    assert server.requests[-1][1] == "bytes=300000-"


def test_a_download_of_a_file_that_changed_starts_again(server, door):
    other = BODY[::-1]
    url = server.add("/w.bin", BODY, servers.short(300_000), servers.becomes(other))
    assert door.download(url).read_bytes() == other


def test_parts_of_two_versions_are_never_joined_without_an_etag(server, door):
    other = BODY[::-1]
    url = server.add("/w.bin", BODY, servers.short(300_000), servers.becomes(other), etag=False)
    assert door.download(url, hashlib.sha256(other).hexdigest()).read_bytes() == other


def test_a_wrong_hash_is_refused_and_not_kept(server, door):
    url = server.add("/w.bin", BODY)
    assert refusal(door.download, url, "0" * 64).reason is Reason.HASH_MISMATCH
    assert refusal(door.download, url, SHA256, 7).reason is Reason.HASH_MISMATCH
    assert not files_in(door)


def test_a_gzipped_answer_is_decoded(server, door):
    url = server.add("/w.bin", BODY, servers.gzipped, servers.gzipped)
    assert door.download(url, SHA256).read_bytes() == BODY
    assert door.get_bytes(url) == BODY


def test_a_compressed_bomb_stops_at_the_limit(server, watch, tmp_path):
    url = server.add("/w.bin", bytes(50_000_000), *[servers.gzipped] * 2)
    with Door(tmp_path, allow_private=True, clocks=watch.clocks(), max_file_bytes=1_000_000) as door:
        assert refusal(door.download, url).reason is Reason.TOO_LARGE
        assert refusal(door.get_bytes, url, limit=1000).reason is Reason.LIMIT
        server.add("/large", bytes(2_000_000))
        assert refusal(door.download, server.url + "/large").reason is Reason.TOO_LARGE
        assert max(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 1_000_000


def test_a_file_known_by_its_hash_is_not_asked_for_again(server, door):
    url = server.add("/w.bin", BODY)
    first = door.download(url, SHA256)
    assert door.download(server.url + "/elsewhere", SHA256) == first
    assert len(server.requests) == 1


def test_a_file_without_a_hash_is_asked_for_again_but_moved_only_when_it_changed(server, door):
    url = server.add("/w.bin", BODY)
    first = door.download(url)
    assert door.download(url) == first
    assert server.sent == len(BODY)
    server.resources["/w.bin"].body = b"new"
    assert door.download(url).read_bytes() == b"new"


def test_an_html_page_is_a_named_failure(server, door):
    url = server.add("/w.pth", BODY, servers.html, servers.html)
    for action in (lambda: door.open(Artifact(url=url)), lambda: door.download(url)):
        error = refusal(action)
        assert error.reason is Reason.FETCH_FAILED
        assert "HTML" in error.detail
    server.add("/typed-as-binary.pth", b"\n <!doctype HTML><title>sign in")
    assert "HTML" in refusal(door.open, Artifact(url=server.url + "/typed-as-binary.pth")).detail
    assert "HTML" in refusal(door.download, server.url + "/typed-as-binary.pth").detail
    assert not files_in(door)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (400, Reason.FETCH_FAILED),
        (401, Reason.GATED),
        (403, Reason.FETCH_FAILED),
        (404, Reason.REMOVED),
        (410, Reason.REMOVED),
        (412, Reason.CHANGED),
        (451, Reason.REMOVED),
    ],
)
def test_a_final_status_is_not_asked_again(server, door, code, reason):
    url = server.add("/w.bin", BODY, *[servers.status(code)] * 3)
    assert refusal(door.download, url).reason is reason
    assert len(server.requests) == 1


# Retry-After


@pytest.mark.parametrize("header", ["7", "Fri, 15 Jan 2027 08:00:07 GMT"])
def test_retry_after_is_honoured_in_both_forms(server, door, watch, header):
    url = server.add("/w.bin", BODY, servers.status(429, Retry_After=header))
    assert door.get_bytes(url) == BODY
    assert len(watch.pauses) == 1
    assert 7 <= watch.pauses[0] < 8


def test_a_longer_pause_than_a_run_can_take_is_a_failure(server, door, watch):
    url = server.add("/w.bin", BODY, servers.status(429, Retry_After="86400"))
    assert "86400 s" in refusal(door.get_bytes, url).detail
    assert not watch.pauses


def test_a_senseless_retry_after_is_ignored(server, door, watch):
    url = server.add("/w.bin", BODY, servers.status(503, Retry_After="soon"), servers.status(503, Retry_After="-5"))
    assert door.get_bytes(url) == BODY
    assert len(watch.pauses) == 2


def test_a_server_that_trickles_is_given_up(server, tmp_path):
    class Hurrying(Watch):
        """A clock that runs a minute at each look."""

        def clocks(self):
            def look():
                self.time += 61
                return self.time

            return Clocks(sleep=self.sleep, monotonic=look, now=lambda: self.time)

    url = server.add("/w.bin", bytes(1000))
    with Door(tmp_path, allow_private=True, clocks=Hurrying().clocks()) as door:
        assert "a second" in refusal(door.get_bytes, url).detail


# Redirects and addresses


def test_a_redirect_is_followed_and_remembered(server, door):
    server.add("/real.bin", BODY)
    url = server.add("/w.bin", b"", *[servers.status(302, Location="/real.bin")] * 2)
    with door.open(Artifact(url=url)) as file:
        assert file.read(200_000, 10) == BODY[200_000:200_010]
        assert [path for path, _, _ in server.requests] == ["/w.bin", "/real.bin", "/real.bin"]
        server.resources["/real.bin"].faults.append(servers.status(403))
        assert file.read(400_000, 10) == BODY[400_000:400_010]
        assert [path for path, _, _ in server.requests[3:]] == ["/real.bin", "/w.bin", "/real.bin"]


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://example.org/x", "http://[::", "data:,x", "javascript:alert(1)", "http://\x01/"],
)
def test_a_redirect_to_no_web_address_is_refused(server, door, location):
    url = server.add("/w.bin", BODY, *[servers.status(302, Location=location)] * 5)
    assert refusal(door.get_bytes, url).reason is Reason.FETCH_FAILED
    assert {path for path, _, _ in server.requests} == {"/w.bin"}


@pytest.mark.parametrize(
    "target",
    ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[::1]/", "http://2130706433/", "http://0/"],
)
def test_a_redirect_into_the_network_is_refused(server, tmp_path, watch, target):
    url = server.add("/w.bin", BODY, servers.status(302, Location=target))
    with Door(tmp_path, clocks=watch.clocks()) as door:
        assert "inside" in refusal(door.get_bytes, url).detail
        assert not server.requests
        error = refusal(door.trusting(url).get_bytes, url)
    assert "inside" in error.detail
    assert len(server.requests) == 1


def test_redirects_in_a_circle_end(server, door):
    url = server.add("/w.bin", BODY, *[servers.status(301, Location="/w.bin")] * 20)
    assert "redirects" in refusal(door.get_bytes, url).detail
    assert len(server.requests) == 6


def test_a_name_that_resolves_differently_is_noticed_at_the_connection(server, tmp_path, watch, monkeypatch):
    url = server.add("/w.bin", BODY).replace("127.0.0.1", "localhost")
    monkeypatch.setattr("filterzoo.network.addresses._addresses", lambda *_: ["93.184.216.34"])
    with Door(tmp_path, clocks=watch.clocks()) as door:
        assert "inside" in refusal(door.get_bytes, url).detail


def test_only_hosts_that_may_be_asked_are_asked(server, tmp_path, watch):
    url = server.add("/w.bin", BODY)
    with Door(tmp_path, allow_private=True, hosts=lambda host: host == "pypi.org", clocks=watch.clocks()) as door:
        assert "host" in refusal(door.get_bytes, url).detail
    assert not server.requests


def test_https_is_never_left():
    from filterzoo.network.transport import _target

    assert _target("http://a/x", "https://b/y") == "https://b/y"
    assert _target("https://a/x", "z") == "https://a/z"
    assert refusal(_target, "https://a/x", "http://a/x").reason is Reason.FETCH_FAILED


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("127.0.0.1", True),
        ("::ffff:10.1.2.3", True),
        ("2002:a00:1::", True),
        ("fe80::1%eth0", True),
        ("100.64.0.1", True),
        ("224.0.0.1", True),
        ("172.32.0.1", False),
        ("2606:4700::1111", False),
        ("example.org", False),
    ],
)
def test_addresses_inside_the_network(address, inside):
    assert is_inside(address) is inside


def test_names_are_left_to_a_proxy(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("resolved here"))
    AddressPolicy().check("http://zoo.example/x")
    assert refusal(AddressPolicy().check, "http://127.0.0.1/x").reason is Reason.FETCH_FAILED


def test_a_message_shows_no_secret():
    assert shown("https://me:secret@host:81/a/b?token=1#x") == "https://host:81/a/b"
    assert "\x1b" not in shown("https://host/\x1b[2J")


# The cache


def test_the_cache_stays_within_its_bounds(tmp_path):
    now = [1_000_000.0]
    cache = Cache(tmp_path, max_bytes=2_500, now=lambda: now[0])
    paths = []
    for number in range(4):
        paths.append(cache.store(f"key {number}", [bytes([number]) * 1000]))
        now[0] += 1000
    assert [path.exists() for path in paths] == [False, False, True, True]
    assert cache.entry("key 0") is None
    assert cache.entry("key 3") is not None


def test_the_files_of_the_cache_are_not_counted_for_each_download(tmp_path, monkeypatch):
    """Otherwise the time of a download would grow with the files that are there."""
    now, looks, glob = [1_000_000.0], [], Path.glob

    def note(path, pattern):
        looks.append(path)
        return glob(path, pattern)

    monkeypatch.setattr(Path, "glob", note)
    cache = Cache(tmp_path, max_bytes=10 * UNCHECKED_SHARE * 100, now=lambda: now[0])
    for number in range(100):
        cache.store(f"key {number}", [number.to_bytes(100, "little")])
    assert len(looks) == 10
    now[0] += 1000
    cache.max_bytes = 1_500
    cache.store("key", [b"\xff" * 100])
    assert len(list(glob(tmp_path / "files", "*/*"))) == 15


def test_files_in_use_are_not_removed(tmp_path):
    cache = Cache(tmp_path, max_bytes=1)
    paths = [cache.store(f"key {number}", [bytes([number]) * 1000]) for number in range(3)]
    assert all(path.exists() for path in paths)


def test_a_store_that_fails_leaves_nothing(tmp_path):
    def parts():
        yield b"some"
        raise Refused(Reason.DAMAGED, "no more")

    cache = Cache(tmp_path)
    assert refusal(cache.store, "key", parts()).reason is Reason.DAMAGED
    assert not list((tmp_path / "files").glob("*/*"))
    assert not list((tmp_path / "partial").iterdir())
    assert cache.store("key", [b"all"]).read_bytes() == b"all"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize(
    "call", ["os.fsync", "os.open", "os.replace", "pathlib.Path.open", "pathlib.Path.touch", "pathlib.Path.mkdir"]
)
def test_a_disk_that_fails_under_the_cache_ends_the_run(server, door, monkeypatch, call, number):
    """It is no checkpoint's fault; with a disk that works the same download comes."""
    url = server.add("/w.bin", BODY, ranges=False)

    def fails(*_arguments, **_options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(call, fails)
        with pytest.raises(
            StorageFailed, match=f"^the cache of downloads cannot be written to: {os.strerror(number)}; "
        ):
            door.download(url)
    assert door.download(url).read_bytes() == BODY


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_under_ranges_ends_the_run(server, door, monkeypatch, number):
    def fails(*_arguments):
        raise OSError(number, os.strerror(number))

    body = BODY * 5
    with door.open(Artifact(url=server.add("/w.bin", body))) as file:
        monkeypatch.setattr("os.pwrite", fails)
        with pytest.raises(StorageFailed, match=r"^the cache of downloads cannot be written to"):
            file.read(0, 2_000_000)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "a" * 63, "A" * 64, "a" * 63 + "\n"])
def test_only_a_hash_finds_a_file(tmp_path, name):
    assert Cache(tmp_path).find(name) is None


def test_threads_and_processes_download_a_file_once(server, tmp_path):
    url = server.add("/w.bin", BODY)
    code = (
        "import sys, pathlib; from filterzoo.network.door import Door\n"
        "with Door(pathlib.Path(sys.argv[1]), allow_private=True) as door:\n"
        "    print(door.download(sys.argv[2], sys.argv[3]))"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, tmp_path, url, SHA256], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    with Door(tmp_path, allow_private=True) as door:
        threads = [threading.Thread(target=door.download, args=(url, SHA256)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = {child.communicate()[0].strip() for child in children}
    assert found == {str(tmp_path / "files" / SHA256[:2] / SHA256)}
    assert len(server.requests) == 1


def test_a_killed_download_is_resumed(server, tmp_path):
    """SIGKILL in the middle: the lock is free, what came is kept, the file is whole."""

    def stall(answer):
        answer.send(200, BODY[:200_000], "application/octet-stream", {"ETag": f'"{SHA256[:16]}"'}, length=len(BODY))
        answer.wfile.flush()
        killed.wait(20)
        answer.close_connection = True
        return True

    killed = threading.Event()
    url = server.add("/w.bin", BODY, stall)
    code = (
        "import sys, pathlib; from filterzoo.network.door import Door\n"
        "Door(pathlib.Path(sys.argv[1]), allow_private=True).download(sys.argv[2])"
    )
    child = subprocess.Popen([sys.executable, "-c", code, tmp_path, url])
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if any(path.stat().st_size for path in tmp_path.glob("partial/*") if not path.suffix):
            break
        time.sleep(0.02)
    os.kill(child.pid, 9)
    child.wait()
    killed.set()
    with Door(tmp_path, allow_private=True) as door:
        assert door.download(url).read_bytes() == BODY
    assert server.requests[-1][1].startswith("bytes=")


def test_documents_are_parsed(server, door):
    server.add("/a.json", b'{"a": 1}', content_type="application/json")
    server.add("/b.json", b"<html>", content_type="application/json")
    assert door.get_json(server.url + "/a.json") == {"a": 1}
    assert refusal(door.get_json, server.url + "/b.json").reason is Reason.FETCH_FAILED


def test_a_document_of_a_commit_is_asked_for_once_in_all_runs(server, door):
    url = server.add("/raw/0123abcd/facts.json", b'{"a": 1}', servers.status(503), servers.reset)
    assert door.get_json(url, pinned=True) == door.get_json(url, pinned=True) == {"a": 1}
    assert len(server.requests) == 3  # two that failed, one that did not
    server.resources.clear()
    with Door(door.cache.folder, allow_private=True) as another_run:
        assert another_run.get_pinned(url) == b'{"a": 1}'


def test_a_cut_document_is_asked_for_again(server, door):
    url = server.add("/raw/facts.json", b'{"a": 1}', servers.short(3), servers.status(429, Retry_After="1"))
    assert door.get_json(url) == {"a": 1}


def test_a_signed_address_that_expires_is_renewed_once_for_all_ranges(server, door):
    body = bytes(range(256)) * 4096
    first = server.add("/signed/1", body, tag="v")
    second = server.add("/signed/2", body, tag="v")
    url = server.add("/w.bin", b"", servers.status(302, Location=first), *[servers.status(302, Location=second)] * 20)
    with door.open(Artifact(url=url)) as file:
        server.resources["/signed/1"].faults += [servers.status(403)] * 99
        for number in range(1, 6):
            assert file.read(number * 170_000, 1000) == body[number * 170_000 :][:1000]
    asked = [path for path, _, _ in server.requests]
    assert asked.count("/w.bin") == 2
    assert asked.count("/signed/1") == 2


def test_requests_have_a_user_agent_that_a_manifest_may_change(server, door):
    url = server.add("/a.json", b"{}")
    door.get(url)
    door.called("my-crawl (me@example.org)").get(url)
    names = [headers["User-Agent"] for _, _, headers in server.requests]
    assert names[0].startswith("filterzoo/")
    assert "https://" in names[0]
    assert names[1] == "my-crawl (me@example.org)"
