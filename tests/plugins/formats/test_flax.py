from __future__ import annotations

import random

import numpy as np
import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats.flax_files import GOOD, HOSTILE, WEIGHT, WRITTEN_BY_FLAX, array, in_parts, mapping, params
from tests.untrusted_files.reading import BytesFile, layers
from tests.untrusted_files.reading import index as look

from filterzoo.errors import Refused
from filterzoo.layers.stored import TensorReader
from filterzoo.records import FileFacts, Kind, Layout, Tensor
from filterzoo_plugins.formats.flax import Flax


def index(data: bytes) -> list[Tensor]:
    return list(Flax().index(MemoryFile(data)))


def arrays(data: bytes) -> dict[str, np.ndarray]:
    with TensorReader(MemoryFile(data)) as reader:
        return {tensor.name: reader.read(tensor) for tensor in index(data) if tensor.computation is None}


def test_what_flax_wrote_is_read_bit_for_bit():
    found = arrays(WRITTEN_BY_FLAX)
    for name, dtype, shape in (
        ("params/stem/kernel", "f4", (3, 3, 3, 4)),
        ("params/stem/bias", "f4", (4,)),
        ("params/blocks/1/kernel", "f2", (1, 1, 4, 8)),
    ):
        numbers = found.pop(name)
        assert (numbers.shape, numbers.dtype) == (shape, dtype)  # type: ignore[comparison-overlap]  # mypy narrows what a call has changed
        assert numbers.tobytes() == np.arange(numbers.size, dtype=dtype).tobytes()
    short = found.pop("params/blocks/0/kernel")  # the upper halves of float32
    assert short.shape == (3, 3, 1, 4)
    assert (short.reshape(-1).astype("<u4") << 16).view("<f4").tolist() == list(range(36))
    assert found.pop("step").tolist() == 7
    assert found.pop("mask").tolist() == [True, True]
    assert [*found.pop("table/0"), *found.pop("table/1")] == list(range(150))
    assert not found


def test_its_convolutions_with_one_in_parts():
    file = BytesFile(WRITTEN_BY_FLAX)
    read = layers(file, look(file, "flax_model.msgpack"))
    weights = {layer.name: layer.weights for layer in read}
    assert set(weights) == {f"params/{name}/kernel" for name in ("stem", "blocks/0", "blocks/1", "large")}
    whole = np.arange(288, dtype="f4").reshape(3, 3, 4, 8).transpose(3, 2, 0, 1)
    assert np.array_equal(weights["params/large/kernel"], whole)
    kinds = {layer.name: layer.tensor.convolution.kind for layer in read}
    assert kinds.pop("params/blocks/0/kernel") is Kind.DEPTHWISE
    assert set(kinds.values()) == {Kind.CONV}


def test_what_it_says_of_itself():
    found = look(BytesFile(GOOD), "any.bin")
    assert (found.format, found.facts) == ("flax", FileFacts("flax"))
    (kernel,) = found.convolutions
    assert (kernel.name, kernel.layout, kernel.shape) == ("params/Conv_0/kernel", Layout.K_IO, (3, 3, 4, 8))


def test_moments_of_an_optimiser_and_attention_are_no_convolutions():
    dense = {"kernel": array(np.ones((64, 4, 16), "f4")), "bias": array(np.ones((4, 16), "f4"))}
    net = mapping({"conv": mapping({"kernel": array()}), "query": mapping(dense)})
    state = {"params": net, "opt_state": mapping({"0": mapping({"mu": net, "nu": net}), "1": mapping({})})}
    found = look(BytesFile(mapping(state)), "state.msgpack")
    assert [tensor.name for tensor in found.convolutions] == ["params/conv/kernel"]
    assert found.tensor_count == 9
    assert found.passed_over == "4 copy, 1 stacked"


@pytest.mark.parametrize("outputs", [8, 16])
def test_transposed_kernels_keep_the_outputs_last(outputs):
    kernel = np.arange(4 * 16 * outputs, dtype="f4").reshape(2, 2, 16, outputs)
    net = {"Conv_0": mapping({"kernel": array(np.ones((3, 3, 3, 16), "f4"))})}
    net["ConvTranspose_0"] = mapping({"kernel": array(kernel)})
    file = BytesFile(mapping({"params": mapping(net)}))
    read = layers(file, look(file, "net.msgpack"))[1]
    assert read.tensor.convolution.kind is Kind.TRANSPOSED
    assert np.array_equal(read.weights, kernel.transpose(3, 2, 0, 1))


def test_only_an_array_of_a_type_that_numpy_lacks_is_left_out():
    odd = array(np.zeros(12, "u1"), dtype="int4", shape=(24,))
    first, second = index(params(odd, array()))
    assert (first.name, first.shape, first.obstacle) == ("params/Conv_0/kernel", (24,), "numbers of type int4")
    with TensorReader(MemoryFile(params(odd, array()))) as reader:
        assert reader.read(second).tobytes() == WEIGHT.tobytes()
        with pytest.raises(Refused, match="int4"):
            reader.read(first)


def test_numbers_are_not_read_to_list_them():
    file = MemoryFile(params(*[array(np.zeros((3, 3, 512, 512), "f4"))] * 3))
    assert len(list(Flax().index(file))) == 3
    assert sum(length for _, length in file.reads) < 1 << 17


def test_whole_numbers_in_parts_are_listed_as_parts():
    found = arrays(params(in_parts(np.arange(50), 20)))
    assert [numbers.size for numbers in found.values()] == [20, 20, 10]


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
        (WRITTEN_BY_FLAX, True),
        (b"\x83\xa4step\xcd\x10\x00\xa4name\xa3net\xa6params\x81", True),
        (b"\x84\xa1a\xc0\xa1b\xcb" + bytes(8) + b"\xa1c\xff\xa1d\x81", True),
        (b"\x81\xa4step\xcd\x10\x00\xa6params\x81", False),
        (b"\x83\xa4step\xcd\x10", False),
        (b"", False),
        (b"\x81", False),
        (b"\x80", False),
        (b"\x81\xa6params", False),
        (b"\x81\xa6params\1", False),
        (b"\x89HDF\r\n\x1a\n", False),
        (b"\x82\xa3\xff\xff\xff\x81", False),
    ],
)
def test_accepts(head, accepted):
    assert Flax().accepts(head, "flax_model.msgpack") is accepted


def test_damage_is_refused_or_read_and_nothing_else_is_raised():
    dice = random.Random(0)
    refused = 0
    good = mapping({"params": mapping({"a": array(np.ones(9, "f4")), "b": in_parts(np.ones(9, "f4"), 5)})})
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(good))] = dice.randrange(256)
        try:
            index(bytes(data[: dice.choice([len(data), dice.randrange(len(data))])]))
        except Refused:
            refused += 1
    assert 1000 < refused < 2000
