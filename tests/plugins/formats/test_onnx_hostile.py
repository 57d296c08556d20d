from __future__ import annotations

import os
import time

import numpy as np
import pytest
from onnx import helper
from tests.memory_file import MemoryFile
from tests.plugins.formats.onnx_files import (
    GOOD,
    WEIGHT,
    external,
    hostile,
    message,
    model_of,
    mutated,
    one_conv,
    stored,
    varint,
    ways_to_store,
)
from tests.plugins.formats.test_onnx_depth import functions

from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo_plugins.encodings import protobuf
from filterzoo_plugins.formats.onnx import Onnx
from filterzoo_plugins.formats.onnx import graph as onnx_graph
from filterzoo_plugins.formats.onnx import model as onnx_model


def index(data: bytes) -> list:
    return list(Onnx().index(MemoryFile(data)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the side files that the hostile models name."""
    path = tmp_path_factory.mktemp("hostile")
    (path / "w.bin").write_bytes(bytes(432))
    (path / "folder").mkdir()
    (path.parent / "secret.bin").write_bytes(bytes(432))
    (path / "link.bin").symlink_to(path.parent / "secret.bin")
    os.mkfifo(path / "pipe.bin")
    return path


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(*case, id=name, marks=[pytest.mark.slow] * name.startswith("30 functions"))
        for name, case in hostile().items()
    ],
)
def test_a_hostile_file_is_refused_with_its_reason(data, reason, folder):
    path = folder / "model.onnx"
    path.write_bytes(data)
    started = time.process_time()
    with LocalFile(path) as file, pytest.raises(Refused) as refusal:
        list(Onnx().index(file))
    assert refusal.value.reason is reason
    assert "\n" not in str(refusal.value)
    assert time.process_time() - started < 20


@pytest.mark.parametrize("name", ["link.bin", "pipe.bin", "folder"])
def test_a_side_file_that_is_no_plain_file_is_refused(name, folder):
    path = folder / "model.onnx"
    path.write_bytes(one_conv(external(location=name)))
    with LocalFile(path) as file, pytest.raises(Refused, match="side file"):
        list(Onnx().index(file))


def test_the_good_file_is_good():
    assert len(index(GOOD)) == 1


def honest() -> list[bytes]:
    """Files to damage: each way to store a weight, and functions."""
    conv = helper.make_node("Conv", ["x", "w"], ["y"], group=1, strides=[1, 1])
    files = [model_of([*nodes, conv], arrays).SerializeToString() for _, (nodes, arrays) in ways_to_store()]
    return [GOOD, functions().SerializeToString(), *files]


def test_nothing_but_a_refusal_comes_of_a_damaged_file():
    refused = accepted = 0
    files = honest()
    for seed in range(3000):
        try:
            index(mutated(files[seed % len(files)], seed))
            accepted += 1
        except Refused:
            refused += 1
    assert refused > 300
    assert accepted > 100


def test_a_file_that_is_cut_anywhere_is_refused():
    data = model_of([helper.make_node("Conv", ["x", "w"], ["y"])], [stored("w", WEIGHT[:1, :1])]).SerializeToString()
    graph_end = data.index(b"\x42\x04\x0a\x00\x10")  # what follows the graph is the operator set
    for length in range(10, graph_end):
        with pytest.raises(Refused) as refusal:
            index(data[:length])
        assert refusal.value.reason is Reason.MALFORMED


def test_limits_on_nodes_arrays_steps_fields_and_text(monkeypatch):
    data = functions().SerializeToString()
    limits = [(onnx_model, "MAX_NODES"), (onnx_model, "MAX_ARRAYS"), (onnx_graph, "MAX_STEPS")]
    limits += [(protobuf, "MAX_FIELDS"), (protobuf, "MAX_TEXT_TOTAL"), (protobuf, "MAX_TEXT_BYTES")]
    for module, limit in limits:
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 1)
            with pytest.raises(Refused) as refusal:
                index(data)
        assert refusal.value.reason is Reason.LIMIT, limit


@pytest.mark.slow
def test_many_tiny_fields_cost_seconds_not_minutes():
    fields = b"\x30\x01" * protobuf.MAX_FIELDS
    started = time.process_time()
    with pytest.raises(Refused) as refusal:
        index(b"\x08\x08" + message(7, message(1, fields)))
    assert refusal.value.reason is Reason.LIMIT
    assert time.process_time() - started < 20


def test_payloads_are_not_read():
    weight = np.zeros((256, 256, 3, 3), "f4")
    arrays = [stored(f"w{n}", weight) for n in range(20)]
    nodes = [helper.make_node("Conv", ["x", f"w{n}"], [f"y{n}"]) for n in range(20)]
    file = MemoryFile(model_of(nodes, arrays, outputs=("y0",)).SerializeToString())
    assert len(list(Onnx().index(file))) == 20
    read = sum(length for _, length in file.reads)
    assert file.size > 40_000_000
    assert read < 200_000
    assert len(file.reads) < 50


def test_a_file_of_gigabytes_is_indexed_in_milliseconds(tmp_path):
    """A sparse file: one initializer of 3 GB that nothing reads, then one weight, then the graph's end."""
    size = 3 << 30
    dims = b"".join(b"\x08" + varint(side) for side in (size // 4,))
    head = dims + b"\x10\x01" + message(8, b"big") + b"\x4a" + varint(size)
    node = message(1, helper.make_node("Conv", ["x", "w"], ["y"]).SerializeToString())
    tail = message(5, stored("w", WEIGHT).SerializeToString()) + message(11, message(1, b"x"))
    big = b"\x2a" + varint(len(head) + size) + head
    with (tmp_path / "big.onnx").open("wb") as stream:
        stream.write(b"\x08\x08\x3a" + varint(len(node) + len(big) + size + len(tail)) + node + big)
        stream.seek(size, os.SEEK_CUR)
        stream.write(tail)
    with LocalFile(tmp_path / "big.onnx") as file:
        started = time.process_time()
        tensors = list(Onnx().index(file))
        elapsed = time.process_time() - started
        assert file.read(tensors[0].span.offset, tensors[0].span.length) == WEIGHT.tobytes()  # type: ignore[union-attr]  # another type ends the test here
    assert [tensor.name for tensor in tensors] == ["w", "big"]
    assert elapsed < 0.5
