"""What reading a layer takes is bounded by the layer: measured in processes that may have no more."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

LAYER = 96 << 20
SPARE = 16 << 20
"""For pieces of compressed data, Python's own objects and how malloc rounds."""

READER = """
import resource, sys
from pathlib import Path
import numpy as np
from filterzoo.files import LocalFile
from filterzoo.layers.normalise import normalise
from filterzoo.layers.stored import TensorReader
from filterzoo.records import *
tensors, layers, scratch = eval(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[1]).parent
in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
most = in_use + int(layers * {layer}) + {spare}
resource.setrlimit(resource.RLIMIT_AS, (most, most))
with LocalFile(Path(sys.argv[1])) as file, TensorReader(file, scratch) as reader:
    for layer in normalise(tensors, reader):
        print(layer.weights.nbytes, flush=True)
        del layer
""".replace("{layer}", str(LAYER)).replace("{spare}", str(SPARE))

CONV = "Convolution(kind=Kind.CONV, context=Context.GRAPH, groups=1)"


def read(path: Path, tensors: str, layers: float) -> list[int]:
    """Bytes of each layer, read in a process that may use `layers` times `LAYER` more than it starts with."""
    command = [sys.executable, "-c", READER, str(path), f"({tensors})", str(layers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    return [int(line) for line in done.stdout.split()]


def tensor(span: str, shape: str, rest: str = "") -> str:
    return f"Tensor(name='w', dtype='F32', shape={shape}, span={span}, convolution={CONV}, {rest}),"


SHAPE = f"({LAYER // 36}, 1, 3, 3)"
SIZE = LAYER // 36 * 36


@pytest.fixture
def deflated(tmp_path: Path) -> Path:
    machine = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    path = tmp_path / "deflated"
    path.write_bytes(machine.compress(bytes(SIZE + 128)) + machine.flush())
    return path


def record(path: Path) -> str:
    return f"stored_in=(StoredRange(0, {path.stat().st_size}, {SIZE + 128}, Codec.DEFLATE),)"


def test_one_compressed_array_takes_its_own_size(deflated: Path):
    layer = tensor(f"Span(128, {SIZE})", SHAPE, record(deflated))
    assert read(deflated, layer * 2, 1.0) == [SIZE] * 2


def test_small_views_of_a_large_compressed_record_take_their_own_size(deflated: Path):
    length = SIZE // 8 // 36 * 36
    views = "".join(
        tensor(f"Span({n * length}, {length})", f"({length // 36}, 1, 3, 3)", record(deflated)) for n in range(4)
    )
    assert read(deflated, views, 0.2) == [length] * 4


def test_layers_that_follow_each_other_are_not_held_together(tmp_path: Path):
    path = tmp_path / "plain"
    with path.open("wb") as file:
        file.truncate(3 * SIZE)
    assert read(path, "".join(tensor(f"Span({n * SIZE}, {SIZE})", SHAPE) for n in range(3)), 1.0) == [SIZE] * 3


@pytest.mark.parametrize(
    ("options", "layers"), [({"compression": "gzip"}, 1.0), ({"compression": "gzip", "shuffle": True}, 2.0)]
)
def test_a_chunk_that_is_all_of_an_array_is_decoded_to_its_place(
    tmp_path: Path, options: dict[str, Any], layers: float
):
    path = tmp_path / "one.h5"
    shape = (LAYER // 36, 1, 3, 3)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("w", shape, "<f4", chunks=shape, **options)
        dataset[0] = np.ones((1, 3, 3))
        chunk = dataset.id.get_chunk_info(0)
    codec = "Codec.SHUFFLE_ZLIB" if "shuffle" in options else "Codec.ZLIB"
    where = f"chunk_shape={shape}, stored_in=(StoredRange({chunk.byte_offset}, {chunk.size}, {SIZE}, {codec}),)"
    assert read(path, tensor("Span(0, 0)", SHAPE, where), layers) == [SIZE]
