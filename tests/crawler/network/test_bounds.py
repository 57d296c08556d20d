"""No server decides how long an answer takes, how large it becomes, or where a connection leads."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpcore
import pytest

from filterzoo.errors import Reason, Refused
from filterzoo.network import exchange
from filterzoo.network.addresses import is_http
from filterzoo.network.door import Door
from filterzoo.network.time_limits import Clocks, Patience
from filterzoo.records import Artifact

BODY = bytes(range(256)) * 1024
HURRY = Patience(head=0.4, window=0.2, rate=100_000.0, overall=0.5, overall_rate=1e9)
Handler = Callable[[socket.socket, str, int], None]
"""Gets the connection, the head of the request, and how many came before it."""


class RawServer:
    """Answers each connection once with what a handler says, and counts the requests."""

    def __init__(self, handler: Handler) -> None:
        self.requests = 0
        self._handler = handler
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/w.bin"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            head = connection.recv(65536).decode("latin-1")
            self.requests += 1
            self._handler(connection, head, self.requests)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], RawServer]]:
    with contextlib.ExitStack() as stack:

        def start(handler: Handler) -> RawServer:
            server = RawServer(handler)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    clocks = Clocks(sleep=lambda _seconds: None)
    with Door(tmp_path / "cache", allow_private=True, clocks=clocks, patience=HURRY) as opened:
        yield opened


def refusal(action: Callable[..., object], *arguments: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        action(*arguments)
    assert "\n" not in str(caught.value)
    return caught.value


def head(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode()


def repeatedly(start: bytes, again: bytes, pause: float = 0.0) -> Handler:
    """Sends `start`, then `again` for ever."""

    def handle(connection: socket.socket, _head: str, _number: int) -> None:
        connection.sendall(start)
        for _ in itertools.count():
            connection.sendall(again)
            time.sleep(pause)

    return handle


ENDLESS = {
    "informational answers": repeatedly(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", 0.01),
    "a flood of informational answers": repeatedly(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 1000),
    "a head that trickles": repeatedly(b"HTTP/1.1 200 OK\r\nX-A: ", b"a", 0.02),
    "a chunk's extension that trickles": repeatedly(head("Transfer-Encoding: chunked") + b"5;", b"a", 0.02),
    "a body that trickles": repeatedly(head("Content-Length: 1000000"), b"x", 0.02),
    "a body without end": repeatedly(head(), b"x" * 10_000, 0.02),
}


@pytest.mark.parametrize("case", ENDLESS)
@pytest.mark.parametrize("how", ["document", "file"])
def test_an_answer_without_end_ends(serve, door: Door, case: str, how: str):
    server = serve(ENDLESS[case])
    begin = time.monotonic()
    action = door.get_bytes if how == "document" else door.download
    assert refusal(action, server.url).reason is Reason.FETCH_FAILED
    assert time.monotonic() - begin < 8


def test_a_slow_answer_is_taken_while_it_is_quick_enough(serve, door: Door):
    def handle(connection: socket.socket, _head: str, _number: int) -> None:
        connection.sendall(head("Content-Length: 80000"))
        for _ in range(8):
            connection.sendall(bytes(10_000))
            time.sleep(0.05)

    assert len(door.get_bytes(serve(handle).url)) == 80_000


def test_a_range_without_end_is_taken_when_it_is_full(serve, door: Door):
    def handle(connection: socket.socket, request: str, number: int) -> None:
        first, last = (int(n) for n in request.lower().partition("range: bytes=")[2].split()[0].split("-"))
        last = min(last, len(BODY) - 1)
        place = f"Content-Range: bytes {first}-{last}/{len(BODY)}"
        if number == 1:
            connection.sendall(head(place, f"Content-Length: {last + 1 - first}", status="206 P") + BODY[: last + 1])
            return
        connection.sendall(head(place, "Transfer-Encoding: chunked", status="206 P"))
        connection.sendall(b"%x\r\n" % (last + 1 - first) + BODY[first : last + 1] + b"\r\n")
        while True:
            connection.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")
            time.sleep(0.01)

    with door.open(Artifact(url=serve(handle).url)) as file:
        assert file.read(100_000, 50_000) == BODY[100_000:150_000]


@pytest.mark.parametrize("encoding", ["gzip, gzip", "gzip,deflate", "br", "gzip, gzip, gzip"])
def test_encodings_that_multiply_are_refused_before_they_are_decoded(serve, door: Door, encoding: str):
    body = gzip.compress(gzip.compress(bytes(50_000_000)))
    answer = head(f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}") + body
    server = serve(lambda connection, _head, _number: connection.sendall(answer))
    for action in (door.get_bytes, door.download):
        error = refusal(action, server.url)
        assert (error.reason, "encoded as" in error.detail) == (Reason.FETCH_FAILED, True)


def test_what_came_encoded_grows_within_bounds(serve, door: Door):
    body = gzip.compress(bytes(100 << 20))
    answer = head("Content-Encoding: gzip", f"Content-Length: {len(body)}") + body
    server = serve(lambda connection, _head, _number: connection.sendall(answer))
    assert refusal(door.download, server.url).reason is Reason.LIMIT


def test_a_broken_encoding_is_one_reason(serve, door: Door):
    answer = head("Content-Encoding: gzip", "Content-Length: 5") + b"nope!"
    server = serve(lambda connection, _head, _number: connection.sendall(answer))
    assert refusal(door.get_bytes, server.url).reason is Reason.FETCH_FAILED


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:99999999/x",
        "http://127.0.0.1:-1/x",
        "http://127.0.0.1:x/",
        "http://" + "a" * 300 + ".example/x",
        "http://" + "a." * 200 + "example/x",
        "http://xn--" + "9" * 59 + ".example/x",
        "http://xn--a.example/x",
        "http://..example/x",
        "http://\u2024.example/",
        "http://[::1/x",
        "http://[1.2.3.4]/x",
    ],
)
def test_a_redirect_to_no_possible_address_is_one_reason(serve, door: Door, location: str):
    answer = f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
    server = serve(lambda connection, _head, _number: connection.sendall(answer))
    for action in (door.get_bytes, door.download, lambda url: door.open(Artifact(url=url))):
        assert refusal(action, server.url).reason is Reason.FETCH_FAILED
    assert refusal(door.get_bytes, location).reason is Reason.FETCH_FAILED


def test_a_reset_behind_the_head_is_tried_again(serve, door: Door):
    def handle(connection: socket.socket, _head: str, number: int) -> None:
        connection.sendall(head(f"Content-Length: {len(BODY)}") + (BODY[:1000] if number < 3 else BODY))
        if number < 3:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    server = serve(handle)
    assert door.download(server.url).read_bytes() == BODY
    assert server.requests == 3


def test_a_private_server_sees_no_request_whatever_its_name_resolves_to(
    serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    server = serve(lambda connection, _head, _number: connection.sendall(head("Content-Length: 1") + b"x"))
    real, asked = socket.getaddrinfo, []

    def rebinding(host, *arguments, **options):
        asked.append(host)
        return real("93.184.216.34" if len(asked) == 1 else "127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with Door(tmp_path / "other", clocks=Clocks(sleep=lambda _seconds: None)) as door:
        error = refusal(door.get_bytes, server.url.replace("127.0.0.1", "zoo.example"))
    assert "inside" in error.detail
    assert asked == ["zoo.example"] * 2
    assert server.requests == 0


def test_no_file_is_downloaded_beyond_the_limit_of_the_manifest(serve, door: Door):
    server = serve(repeatedly(head(), bytes(100_000)))
    assert refusal(door.bounded(1_000_000).download, server.url).reason is Reason.TOO_LARGE


@pytest.mark.parametrize("size", [1_000_001, 10**15, 10**18 - 1])
@pytest.mark.parametrize("is_side", [False, True])
def test_a_size_beyond_the_limit_is_refused_when_it_is_stated(serve, door: Door, size: int, *, is_side: bool):
    def handle(connection: socket.socket, request: str, _number: int) -> None:
        stated = len(BODY) if is_side and "w.bin" in request else size
        place = f"Content-Range: bytes 0-65535/{stated}"
        connection.sendall(head(place, "Content-Length: 65536", status="206 P") + BODY[:65536])

    server = serve(handle)
    bounded = door.bounded(1_000_000)
    with contextlib.ExitStack() as stack:
        if is_side:
            file = stack.enter_context(bounded.open(Artifact(url=server.url)))
            error = refusal(file.beside, "side.bin")
        else:
            error = refusal(bounded.open, Artifact(url=server.url))
    assert (error.reason, str(size) in error.detail) == (Reason.TOO_LARGE, True)
    assert server.requests == 1 + is_side


def test_bounds_end_with_the_exchange():
    assert exchange.current() is None


def test_a_head_is_bounded_by_its_length_too():
    bounds = exchange.Exchange("an address", HURRY, None, lambda: 0.0)
    assert len(bounds.read(lambda _timeout: bytes(exchange.MAX_HEAD), None)) == exchange.MAX_HEAD
    assert refusal(bounds.read, lambda _timeout: b"x", None).reason is Reason.FETCH_FAILED


def read_for(seconds: int, rate: int) -> int:
    """How many seconds of `seconds` a body is read that comes at so many bytes a second."""
    time_now = 0.0

    def second(_timeout: float | None) -> bytes:
        nonlocal time_now
        time_now += 1.0
        return bytes(rate)

    bounds = exchange.Exchange("an address", Patience(), None, lambda: time_now)
    bounds.begin_body(10**10)
    for waited in range(seconds):
        try:
            bounds.read(second, None)
        except httpcore.ReadTimeout:
            return waited
    return seconds


def test_a_body_keeps_a_rate_over_each_window():
    """Bounds in all would leave ten gigabytes a day and a half."""
    assert read_for(100, 5_000) < 31
    assert read_for(100, 10_000) == 100


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a." * 127 + "a", "..example", ".", "a..b"])
def test_a_name_beyond_the_longest_is_no_host(host: str):
    """Said before anything resolves it, whatever a library makes of it."""
    assert not is_http(f"http://{host}/x")
    assert is_http(f"http://{'a' * 63}.example./x")
