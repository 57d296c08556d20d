"""A synthetic Hub of any size on loopback, for `planning.py`, with the Hub's pages, orders and rate limits.

`python -m benchmarks._synthetic_hub PORT_FILE REPOSITORIES QUOTA SECONDS`: at most QUOTA requests in each window of
SECONDS, then 429 with `Retry-After` until its end (the Hub allows anonymous users 500 in 5 minutes). A repository is
generated from its number on request. The last one is the newest.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

PAGE = 1000
"""Repositories in a page, the maximum of the Hub."""
DAY = 86_400
FIRST = 1_640_995_200
"""2022-01-01, the time of repository 0. Each repository is one second newer than the previous one."""
LICENCES = ("apache-2.0",) * 9 + ("mit",) * 4 + ("cc-by-nc-4.0",) + (None,) * 6


def repository(number: int, changed: int = 0) -> dict[str, Any]:
    """The repository's entry in a listing. Every twentieth repository is gated."""
    licence = LICENCES[number % len(LICENCES)]
    weights = "model.safetensors" if number % 3 else "pytorch_model.bin"
    moment = time.gmtime(FIRST + number + changed)
    return {
        "_id": f"{number:024x}",
        "id": f"user{number % 9973}/vision-{number}",
        "sha": hashlib.sha1(f"{number}-{changed}".encode()).hexdigest(),
        "lastModified": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", moment),
        "gated": "manual" if number % 20 == 11 else False,
        "private": False,
        "disabled": False,
        "downloads": 1_000_000 // (1 + number % 100_003),
        "pipeline_tag": "image-classification",
        "library_name": "transformers",
        "tags": ["transformers", "vision", "image-classification", *([f"license:{licence}"] if licence else [])],
        "config": {"architectures": ["ConvNextForImageClassification"]},
        "siblings": [{"rfilename": name} for name in (".gitattributes", "README.md", "config.json", weights)],
    }


class Hub(ThreadingHTTPServer):
    """repositories: their number. quota: requests in each window of `seconds`."""

    daemon_threads = True

    def __init__(self, repositories: int, quota: int, seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.repositories, self.quota, self.seconds = repositories, quota, seconds
        self.window, self.asked, self.total, self.refused = 0.0, 0, 0, 0

    def wait(self) -> float:
        """Seconds until this request is allowed; 0 if it is within the quota."""
        now = time.monotonic()
        if now - self.window >= self.seconds:
            self.window, self.asked = now, 0
        self.asked += 1
        self.total += 1
        return self.window + self.seconds - now if self.asked > self.quota else 0.0


class Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:  # the name the standard library calls
        parts = urlsplit(self.path)
        if parts.path == "/counts":
            self.send(200, {"requests": self.server.total, "refused": self.server.refused})
        elif (wait := self.server.wait()) > 0:
            self.server.refused += 1
            self.send(429, {"error": "too many requests"}, {"Retry-After": str(int(wait) + 1)})
        elif parts.path == "/api/models":
            self.listing(parse_qs(parts.query))
        else:
            self.send(404, {"error": "not found"})

    def listing(self, query: dict[str, list[str]]) -> None:
        start = int(query.get("cursor", ["0"])[0])
        newest = self.server.repositories - 1
        is_newest_first = query.get("sort") == ["lastModified"]
        numbers = range(start, min(start + PAGE, self.server.repositories))
        headers = {}
        if numbers and numbers[-1] < newest:
            following = urlencode(query | {"cursor": [str(numbers[-1] + 1)]}, doseq=True)
            headers["Link"] = f'<http://127.0.0.1:{self.server.server_port}/api/models?{following}>; rel="next"'
        self.send(200, [repository(newest - n if is_newest_first else n) for n in numbers], headers)

    def send(self, status: int, document: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: millions of lines would take time."""


def main() -> None:
    port_file, repositories, quota, seconds = sys.argv[1:]
    with Hub(int(repositories), int(quota), float(seconds)) as hub:
        Path(port_file).write_text(str(hub.server_port))
        hub.serve_forever()


if __name__ == "__main__":
    main()
