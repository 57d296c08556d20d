"""A web server on loopback that serves bytes by ranges and misbehaves on demand."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Fault = Callable[["Answer"], bool]
"""Answers the request and returns True, or returns False to let the server answer it normally."""


@dataclass
class Resource:
    """The content at a path. faults: each is applied to one request; later requests are answered normally.

    body: bytes, or an object with a length and slices of bytes, such as an mmap, which needs a `tag`.
    """

    body: bytes
    content_type: str = "application/octet-stream"
    ranges: bool = True
    etag: bool = True
    tag: str | None = None
    faults: list[Fault] = field(default_factory=list)


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request, client_address) -> None:
        """Silent: in these tests clients close connections on purpose."""


class _QuietServer6(_QuietServer):
    address_family = socket.AF_INET6


class WebServer:
    """Serves `resources`; counts `requests` (path, Range header, all headers) and the body bytes it began to send."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.resources: dict[str, Resource] = {}
        self.requests: list[tuple[str, str | None, dict[str, str]]] = []
        self.sent = 0
        self._host = f"[{host}]" if ":" in host else host
        self._server = (_QuietServer6 if ":" in host else _QuietServer)((host, 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self._server.server_port}"

    def add(self, path: str, body: bytes, *faults: Fault, **settings) -> str:
        self.resources[path] = Resource(body, faults=list(faults), **settings)
        return self.url + path

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(Answer):
            owner = server

        return Handler


class Answer(BaseHTTPRequestHandler):
    """The handler of one request. A fault receives it and may use `send` and `cut`."""

    owner: WebServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 5

    def do_GET(self) -> None:
        self.owner.requests.append((self.path, self.headers.get("range"), dict(self.headers)))
        resource = self.owner.resources.get(self.path)
        if resource is None:
            self.send(404, b"no such thing", "text/plain")
        elif not (resource.faults and resource.faults.pop(0)(self)):
            self.serve(resource)

    def serve(self, resource: Resource) -> None:
        body = resource.body
        etag = f'"{resource.tag or hashlib.sha256(body).hexdigest()[:16]}"' if resource.etag else None
        headers = {"ETag": etag} if etag else {}
        if etag and self.headers.get("if-none-match") == etag:
            self.send(304, b"", resource.content_type, headers)
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range") or "")
        fresh = self.headers.get("if-range") in {None, etag}
        if match and resource.ranges and fresh:
            first, last = int(match[1]), min(int(match[2] or len(body)), len(body) - 1)
            if first >= len(body):
                self.send(416, b"", "text/plain", {"Content-Range": f"bytes */{len(body)}"})
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            self.send(206, body[first : last + 1], resource.content_type, headers)
        else:
            self.send(200, body, resource.content_type, headers)

    def send(self, status: int, body: bytes, content_type: str, headers=None, *, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if status != 304:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.owner.sent += len(body)  # before the client can have the last byte and the test reads the count
        self.wfile.write(body)

    def cut(self) -> None:
        """Close the connection with a reset."""
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def log_message(self, *args: Any) -> None:
        pass


def status(code: int, **headers: str) -> Fault:
    """Answers with a status and headers (underscores become hyphens)."""

    def fault(answer: Answer) -> bool:
        answer.send(code, b"sorry", "text/plain", {name.replace("_", "-"): value for name, value in headers.items()})
        return True

    return fault


def reset(answer: Answer) -> bool:
    """Resets the connection before any response."""
    answer.cut()
    answer.wfile = answer.rfile = io.BytesIO()
    return True


def short(n: int) -> Fault:
    """Declares the whole length, sends the first n bytes, and closes the connection."""

    def fault(answer: Answer) -> bool:
        send = answer.send

        def truncated(code, body, content_type, headers=None):
            send(code, body[:n], content_type, headers, length=len(body))
            answer.close_connection = True

        answer.send = truncated  # type: ignore[method-assign, assignment]  # of this one answer
        return False

    return fault


def wrong_range(value: str) -> Fault:
    """Answers 206 with this wrong Content-Range."""

    def fault(answer: Answer) -> bool:
        answer.send(206, b"x" * 100, "application/octet-stream", {"Content-Range": value})
        return True

    return fault


def ignores_range(answer: Answer) -> bool:
    """Ignores the Range header and sends the whole file."""
    del answer.headers["range"]
    return False


def becomes(body: bytes) -> Fault:
    """Replaces the file from this request on."""

    def fault(answer: Answer) -> bool:
        answer.owner.resources[answer.path].body = body
        return False

    return fault


def html(answer: Answer) -> bool:
    """Answers with an HTML page instead of the file, with status 200."""
    answer.send(200, b"<!DOCTYPE html><p>Too many users have viewed this file", "text/html; charset=utf-8")
    return True


def gzipped(answer: Answer) -> bool:
    """The whole file, compressed although the client did not accept that."""
    body = gzip.compress(answer.owner.resources[answer.path].body)
    answer.send(200, body, "application/octet-stream", {"Content-Encoding": "gzip"})
    return True


def gzipped_range(answer: Answer) -> bool:
    """A range of the compressed file."""
    body = gzip.compress(answer.owner.resources[answer.path].body)
    headers = {"Content-Encoding": "gzip", "Content-Range": f"bytes 0-{len(body) - 1}/{len(body)}"}
    answer.send(206, body, "application/octet-stream", headers)
    return True
