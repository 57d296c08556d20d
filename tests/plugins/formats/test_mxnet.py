from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats.mxnet_files import (
    BIAS,
    FIRST,
    GOOD,
    HOSTILE,
    LONG,
    NOTHING,
    SECOND,
    THIRD,
    TYPES,
    UNKNOWN,
    WEIGHT,
    WRITTEN_BY_MXNET,
    dense,
    params,
    row_sparse,
)
from tests.untrusted_files.reading import BytesFile
from tests.untrusted_files.reading import index as look

from filterzoo.errors import Refused
from filterzoo.layers.stored import TensorReader
from filterzoo.records import FileFacts, Kind, Layout, Tensor
from filterzoo_plugins.formats.mxnet import MXNet


def index(data: bytes) -> list[Tensor]:
    return list(MXNet().index(MemoryFile(data)))


def arrays(data: bytes) -> dict[str, np.ndarray]:
    with TensorReader(MemoryFile(data)) as reader:
        return {tensor.name: reader.read(tensor) for tensor in index(data) if tensor.obstacle is None}


def test_what_mxnet_wrote_is_read_bit_for_bit():
    found = arrays(WRITTEN_BY_MXNET)
    for dtype in ("float32", "float64", "float16", "uint8", "int32", "int8", "int64"):
        array = found.pop(f"arg:{dtype}_weight")
        assert (str(array.dtype), array.shape) == (dtype, (4, 3, 3, 3))
        assert array.tobytes() == np.arange(108, dtype=dtype).tobytes()
    assert found.pop("aux:mean").tolist() == [0, 1, 2, 3]
    assert not found


@pytest.mark.parametrize("version", [None, FIRST, SECOND, THIRD])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_version_and_type(version, dtype):
    array = (WEIGHT * 40).astype(dtype)
    (found,) = arrays(params({"w": dense(array, version)})).values()
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_arrays_without_a_shape_have_a_name_and_no_numbers():
    scalar = dense(np.array(5, "f4"), THIRD)
    in_part = struct.pack("<Iiiqq", THIRD, 0, 2, -1, 3)
    found = arrays(params({"a": NOTHING, "b": UNKNOWN, "c": in_part, "d": scalar, "e": bytes(4), "w": dense()}))
    assert {name: array.shape for name, array in found.items()} == {"d": (), "w": WEIGHT.shape}
    assert found["w"].tobytes() == WEIGHT.tobytes()


def test_arrays_without_names_are_called_by_their_number():
    assert [tensor.name for tensor in index(params([dense(), dense(BIAS)]))] == ["0", "1"]


def test_only_a_sparse_table_is_left_out():
    rows = row_sparse(np.ones((2, 3), "f4"), [1, 4], (6, 3))
    table, weight = index(params({"embedding": rows, "conv_weight": dense()}))
    assert (table.dtype, table.shape, table.layout, table.obstacle) == ("F32", (6, 3), Layout.OTHER, "a sparse array")
    assert weight.shape == WEIGHT.shape


def test_a_sparse_weight_is_left_out_by_its_name():
    sparse = row_sparse(WEIGHT[:2], [0, 2], WEIGHT.shape)
    found = look(BytesFile(params({"a_weight": dense(), "b_weight": sparse})), "net.params")
    assert [tensor.name for tensor in found.convolutions] == ["a_weight"]
    assert [(left.name, left.detail) for left in found.left_out] == [("b_weight", "a sparse array")]
    with pytest.raises(Refused, match="sparse"):
        look(BytesFile(params({"b_weight": sparse})), "net.params")


def test_the_convolutions_of_a_gluon_network():
    stem, depthwise = np.ones((8, 3, 3, 3), "f4"), np.ones((8, 1, 3, 3), "f4")
    up, matrix = np.ones((16, 4, 2, 2), "f4"), np.ones((10, 4), "f4")
    biases = {f"{place}.bias": dense(np.ones(side, "f4")) for place, side in enumerate((8, 8, 16, 4, 10))}
    weights = {"0.weight": stem, "1.weight": depthwise, "2.weight": np.ones((16, 8, 1, 1), "f4"), "3.weight": up}
    weights["4.weight"] = matrix  # type: ignore[assignment]  # another type on purpose
    order = [name for place in range(5) for name in (f"{place}.weight", f"{place}.bias")]
    bodies = biases | {name: dense(array) for name, array in weights.items()}
    found = look(BytesFile(params({name: bodies[name] for name in order})), "net.params")
    assert (found.format, found.facts) == ("mxnet", FileFacts("mxnet"))
    kinds = [(tensor.name, tensor.convolution.kind) for tensor in found.convolutions]
    assert kinds == [
        ("0.weight", Kind.CONV),
        ("1.weight", Kind.DEPTHWISE),
        ("2.weight", Kind.CONV),
        ("3.weight", Kind.TRANSPOSED),
    ]


def test_networks_for_channels_last_are_recognised_by_their_kernels():
    weights = {"stem_weight": (64, 7, 7, 3), "conv1_weight": (64, 3, 3, 64), "conv2_weight": (32, 1, 1, 64)}
    data = params({name: dense(np.ones(shape, "f4")) for name, shape in weights.items()})
    found = look(BytesFile(data), "net.params")
    assert [(tensor.layout, tensor.shape) for tensor in found.convolutions] == [
        (Layout.O_K_I, shape) for shape in weights.values()
    ]


def test_numbers_are_not_read_to_list_them():
    big = np.zeros((512, 512, 3, 3), "f4")
    file = MemoryFile(params({f"w{place}": dense(big) for place in range(3)}))
    assert len(list(MXNet().index(file))) == 3
    assert sum(length for _, length in file.reads) < 1 << 17


def test_small_arrays_share_reads():
    file = MemoryFile(LONG)
    assert len(list(MXNet().index(file))) == 300
    assert len(file.reads) < 20


@pytest.mark.parametrize("wrong", HOSTILE)
def test_refused(wrong):
    data, reason = HOSTILE[wrong]
    with pytest.raises(Refused) as refusal:
        index(data)
    assert refusal.value.reason is reason
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("head", "accepted"),
    [
        (GOOD, True),
        (b"\x12\1\0\0\0\0\0\0" + b'{"w": {}}', False),
        (GOOD[:15], False),
        (b"", False),
    ],
)
def test_accepts(head, accepted):
    assert MXNet().accepts(head, "net.params") is accepted


def test_damage_is_refused_or_read_and_nothing_else_is_raised():
    dice = random.Random(0)
    refused = 0
    for _ in range(2000):
        data = bytearray(GOOD)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(GOOD))
            data[place] = dice.randrange(256)
        try:
            tensors = index(bytes(data[: dice.choice([len(data), dice.randrange(len(data))])]))
        except Refused:
            refused += 1
        else:
            assert all(tensor.span.offset + tensor.span.length <= len(data) for tensor in tensors)
    assert 1000 < refused < 2000
