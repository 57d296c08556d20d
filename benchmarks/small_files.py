"""Many small checkpoints: thousands in a folder, and some on a server with a latency of 50 ms.

Prints the checkpoints per second of `crawl` and `publish`, and the ratio of the crawl's time on the server to that in a
folder, for the same files.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._measuring import Run, run
from safetensors.numpy import save_file

import filterzoo

LATENCY = 0.05
"""Seconds before each response of the server."""


def main() -> None:
    """Crawl and publish `--checkpoints` files. Crawl `--behind-server` files from both places in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoints", type=int, default=2_000)
    parser.add_argument("--behind-server", type=int, default=200)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="filterzoo-bench-"))
    try:
        write(folder / "many", arguments.checkpoints)
        local = manifest(folder, "many", "local", {"paths": ["many/*"], "license": "apache-2.0"})
        crawl, target = crawled(folder, local, arguments.checkpoints), folder / "dataset"
        publish = run([program(), "publish", str(target), "--workdir", str(folder / "work"), "--json"])
        assert len(filterzoo.layers(str(target))) == arguments.checkpoints
        for name, taken in {"crawl": crawl, "publish": publish}.items():
            rate = arguments.checkpoints / taken.seconds
            print(f"{name:8} {arguments.checkpoints:6,} small files {taken.seconds:6.1f} s {rate:6.0f} a second")
        few = arguments.behind_server
        write(folder / "few", few)
        local = manifest(folder, "few", "local", {"paths": ["few/*"], "license": "apache-2.0"})
        with served(folder) as address:
            files = [
                {"url": f"{address}/few/{number:05}.safetensors", "name": str(number), "license": "apache-2.0"}
                for number in range(few)
            ]
            remote = manifest(folder, "served", "urls", {"files": files})
            pairs = [(crawled(folder, local, few), crawled(folder, remote, few)) for _ in range(arguments.repeat)]
        here, there = (min(taken.seconds for taken in runs) for runs in zip(*pairs, strict=True))
        print(
            f"{few} files: {here:.1f} s in a folder, {there:.1f} s at {1000 * LATENCY:.0f} ms: {there / here:.2f} times"
        )
    finally:
        shutil.rmtree(folder)


def crawled(folder: Path, file: Path, checkpoints: int) -> Run:
    """Crawl into a new work folder."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    taken = run([program(), "crawl", str(file), "--workdir", str(work), "--allow-private", "-q"])
    assert len(list(work.glob("fragments/*/*.arrow"))) == checkpoints
    return taken


def write(folder: Path, checkpoints: int) -> None:
    """Write files of one layer each, all different."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(checkpoints):
        weights = generator.standard_normal((16, 3, 3, 3)).astype(np.float32)
        save_file({"conv.weight": weights}, folder / f"{number:05}.safetensors")


def manifest(folder: Path, name: str, source: str, options: dict[str, Any]) -> Path:
    """Write a manifest of one source with these options, as JSON, which is valid YAML."""
    file = folder / f"{name}.yaml"
    file.write_text(json.dumps({"name": name, "sources": [{"source": source} | options]}))
    return file


def program() -> str:
    """The `filterzoo` command of this Python environment."""
    return str(Path(sys.executable).with_name("filterzoo"))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the folder on loopback, with LATENCY."""
    with _Server(("127.0.0.1", 0), partial(_Slow, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore clients that close the connection."""


class _Slow(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send_head(self) -> object:  # type: ignore[override]  # returns what the base class returns
        time.sleep(LATENCY)
        return super().send_head()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the base class
        """Log nothing."""


if __name__ == "__main__":
    main()
