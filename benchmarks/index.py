"""The index of a 500 MB model, against torch.load(mmap=True), safetensors.safe_open and onnx.load.

The index lists the name, type and shape of every tensor. Each way runs in processes of its own. `fresh`: a process that
indexes one file, from start to end, with imports and the start of the jail. `warm`: a further file in a running
process. Peak memory is that of the process and its children. The second table is about a file on a web server on
loopback: its index, its convolutions, and the download of the whole file.

The goal is to be no slower than the fastest of the three, with a tenth of its memory. It is met for ONNX. For torch,
FilterZoo is faster with a seventh of the memory. For safetensors it is not met: safe_open parses in the same process;
FilterZoo parses in another process, and both check every byte range. README.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from benchmarks._measuring import Run, median, run

BLOCKS = 48
"""Each has a 3x3 convolution of 7.2 MB and a batch norm; every fifth also a matrix of 16.8 MB. Together 500 MB."""
WARM_REPEATS = 20
MAIN = """
import json, sys, time
{way}
seconds = []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    count = index(sys.argv[1])
    seconds.append(time.perf_counter() - start)
assert count == 249, count
json.dump(seconds, open(sys.argv[3], "w"))
"""
OURS = """
from filterzoo.files import LocalFile
from filterzoo.jail import Jail
from filterzoo.plugins import load, references
from pathlib import Path
jail = Jail(load(references(())).format_references)
def index(path):
    with LocalFile(Path(path)) as file:
        return jail.index(file, path).tensor_count
"""
WAYS = {
    "pth": {
        "torch.load(mmap=True)": """
import torch
def index(path):
    return len([(k, t.dtype, t.shape) for k, t in torch.load(path, mmap=True, weights_only=True).items()])
"""
    },
    "safetensors": {
        "safetensors.safe_open": """
from safetensors import safe_open
def index(path):
    with safe_open(path, "np") as file:
        slices = [file.get_slice(name) for name in file.keys()]
        return len([(s.get_dtype(), s.get_shape()) for s in slices])
"""
    },
    "onnx": {
        "onnx.load": """
import onnx
def index(path):
    return len([(t.name, t.data_type, tuple(t.dims)) for t in onnx.load(path).graph.initializer])
"""
    },
}


def write_models(folder: Path) -> dict[str, Path]:
    """Write the same network in the three formats."""
    import onnx
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from safetensors.torch import save_file

    generator = np.random.default_rng(0)
    state: dict[str, np.ndarray] = {}
    nodes = []
    for number in range(BLOCKS):
        state[f"{number:02}.conv.weight"] = generator.standard_normal((448, 448, 3, 3), np.float32)
        nodes.append(helper.make_node("Conv", [f"x{number}", f"{number:02}.conv.weight"], [f"x{number + 1}"]))
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"{number:02}.bn.{name}"] = generator.standard_normal(448, np.float32)
        if number % 5 == 4:
            state[f"{number:02}.mlp.weight"] = generator.standard_normal((2048, 2048), np.float32)
    torch_state = {name: torch.from_numpy(array) for name, array in state.items()}
    torch.save(torch_state, folder / "m.pth")
    save_file(torch_state, folder / "m.safetensors")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x0", f"x{BLOCKS}")]
    arrays = [numpy_helper.from_array(array, name) for name, array in state.items()]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], arrays)), folder / "m.onnx")
    return {suffix: folder / f"m.{suffix}" for suffix in WAYS}


def time_index(way: str, path: Path, folder: Path, repeat: int) -> tuple[Run, float]:
    """The median of `repeat` fresh processes, and the seconds of a warm call."""
    script, result = folder / "way.py", folder / "seconds.json"
    script.write_text(textwrap.dedent(MAIN).format(way=way))
    command = [sys.executable, str(script), str(path)]
    fresh = median([run([*command, "1", str(result)]) for _ in range(repeat)])
    run([*command, str(WARM_REPEATS), str(result)])
    return fresh, statistics.median(json.loads(result.read_text())[1:])


class CountingServer(ThreadingHTTPServer):
    """Serves a file and supports range requests; counts requests and bytes of bodies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests = self.sent = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """The URL of the file."""
        return f"http://127.0.0.1:{self.server_port}/{self.path.name}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: CountingServer

    def do_GET(self) -> None:
        size = self.server.path.stat().st_size
        wanted = self.headers.get("range")
        first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-")) if wanted else (0, size - 1)
        last = min(last, size - 1)
        self.send_response(206 if wanted else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(last - first + 1))
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        self.server.requests += 1
        self.server.sent += last - first + 1
        with self.server.path.open("rb") as file:
            self.connection.sendfile(file, first, last - first + 1)

    def log_message(self, *_arguments: Any) -> None:
        """Log nothing."""


@contextmanager
def served(path: Path) -> Iterator[CountingServer]:
    """The file on a running server."""
    server = CountingServer(path)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def download(url: str, folder: Path) -> None:
    """Download the whole file, as a simple script would."""
    with httpx.stream("GET", url) as response, (folder / "whole").open("wb") as file:
        for part in response.iter_bytes():
            file.write(part)


def report_remote(path: Path, folder: Path) -> None:
    """Print requests, bytes and seconds of the index, the convolutions, and a download."""
    from filterzoo.jail import Jail
    from filterzoo.layers.stored import TensorReader
    from filterzoo.network.door import Door
    from filterzoo.plugins import load, references
    from filterzoo.records import Artifact

    with served(path) as server, Jail(load(references(())).format_references) as jail:
        _ = jail.process_id  # started
        with Door(folder / "cache", allow_private=True) as door:
            start = time.perf_counter()
            with door.open(Artifact(url=server.url)) as file, TensorReader(file) as reader:
                index = jail.index(file, path.name)
                _print_moved(path.name, "index", server, start)
                reader.will_read(index.convolutions)
                for tensor in index.convolutions:
                    reader.read(tensor)
                _print_moved("", "index and convolutions", server, start)
        wanted = sum(tensor.span.length for tensor in index.convolutions)
        print(f"{'':15} {server.sent / wanted:.3f} x the {wanted / 1e6:.1f} MB of convolutions")
        server.requests = server.sent = 0
        start = time.perf_counter()
        download(server.url, folder)
        _print_moved("", "whole download", server, start)


def _print_moved(name: str, what: str, server: CountingServer, start: float) -> None:
    seconds = time.perf_counter() - start
    print(f"{name:15} {what:24} {server.requests:4} requests {server.sent / 1e6:8.2f} MB {seconds:6.2f} s")


def main() -> None:
    """Write the models, run every way, and print two tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3, help="fresh processes a way")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="filterzoo-bench-") as name:
        folder = Path(name)
        models = write_models(folder)
        for suffix, path in models.items():
            print(f"{path.name}, {path.stat().st_size / 1e6:.0f} MB")
            for way, code in {"filterzoo": OURS, **WAYS[suffix]}.items():
                fresh, warm = time_index(code, path, folder, arguments.repeat)
                memory = fresh.peak_bytes / 1e6
                print(f"  {way:24} fresh {fresh.seconds:6.2f} s   warm {1e3 * warm:8.2f} ms   peak {memory:6.0f} MB")
        for path in models.values():
            report_remote(path, folder)


if __name__ == "__main__":
    main()
