"""Bare pickles of NumPy arrays, as PaddlePaddle and Detectron2 write them."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest
from tests.memory_file import MemoryFile

from filterzoo.errors import Reason, Refused
from filterzoo.layers.normalise import normalise
from filterzoo.layers.selection import select
from filterzoo.layers.stored import TensorReader
from filterzoo.records import FileFacts
from filterzoo_plugins.formats.torch import PickleFormat, TorchFormat

RANDOM = np.random.default_rng(3)
WEIGHTS = {
    "qzx": RANDOM.normal(size=(16, 3, 7, 7)).astype("<f4"),
    "vbk": RANDOM.normal(size=(32, 16, 3, 3)).astype("<f4"),
}


def layers(data: bytes):
    file = MemoryFile(data)
    with TensorReader(file) as reader:
        return list(normalise(select(list(PickleFormat().index(file))), reader))


class PaddleTensor:
    """Pickles as Paddle's tensors do: a call of `tuple` with the name and the array."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self.parts = name, array

    def __reduce__(self):
        return tuple, (self.parts,)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_arrays_in_dictionaries(protocol):
    state = {"model": {f"{name}_w": array for name, array in WEIGHTS.items()}, "__author__": "someone"}
    data = pickle.dumps(state, protocol=protocol)
    assert PickleFormat().accepts(data[:4096], "x.pkl")
    assert not TorchFormat().accepts(data[:4096], "x.pkl")
    made = layers(data)
    assert [each.name for each in made] == [f"model.{name}_w" for name in WEIGHTS]
    assert all(np.array_equal(each.weights, array) for each, array in zip(made, WEIGHTS.values(), strict=True))


def test_parameters_of_paddle():
    state = {f"{name}.weight": PaddleTensor("conv2d_0.w_0", array) for name, array in WEIGHTS.items()}
    state["StructuredToParameterName@@"] = {"qzx.weight": "conv2d_0.w_0"}  # type: ignore[assignment]  # another type on purpose
    made = layers(pickle.dumps(state, protocol=4))
    assert [each.name for each in made] == ["qzx.weight", "vbk.weight"]
    assert np.array_equal(made[1].weights, WEIGHTS["vbk"])
    assert isinstance(PickleFormat().facts(MemoryFile(b"")), FileFacts)


def test_lists_of_arrays_and_fortran_order():
    made = layers(pickle.dumps({"w": [np.asfortranarray(array) for array in WEIGHTS.values()]}, protocol=4))
    assert all(np.array_equal(each.weights, array) for each, array in zip(made, WEIGHTS.values(), strict=True))


def test_arrays_are_not_read_while_they_are_listed():
    data = pickle.dumps({"a.weight": np.zeros((512, 512, 3, 3), "f4")}, protocol=4)
    file = MemoryFile(data)
    assert len(list(PickleFormat().index(file))) == 1
    assert sum(length for _, length in file.reads) < len(data) / 20


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/filterzoo-evil",)  # it is never made


CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": 1}, Reason.UNSUPPORTED),
        (Evil(), Reason.UNSUPPORTED),
        ([Evil()] * 3, Reason.UNSUPPORTED),
        (CYCLE, Reason.UNSUPPORTED),
        ({"a": np.array([{}], dtype=object)}, Reason.UNSUPPORTED),
    ],
    ids=("a-number", "an-object", "objects", "a-cycle", "an-object-array"),
)
def test_what_holds_no_arrays_is_refused(value, reason):
    with pytest.raises(Refused) as caught:
        layers(pickle.dumps(value, protocol=4))
    assert caught.value.reason is reason
    assert not os.path.exists("/tmp/filterzoo-evil")  # noqa: PTH110  # see above


def test_protocol_2_and_big_endian_numbers():
    """Protocol 2 keeps bytes as text; a text of 64 KiB or more is not held in memory."""
    large = RANDOM.normal(size=(64, 32, 3, 3)).astype(">f4")
    for protocol in (2, 4):
        made = layers(pickle.dumps({"a.weight": WEIGHTS["qzx"], "b.weight": large}, protocol=protocol))
        assert np.array_equal(made[0].weights, WEIGHTS["qzx"])
        assert np.array_equal(made[1].weights, large)


@pytest.mark.parametrize("cut", [10, 1000, -1])
def test_cut_pickles_are_refused(cut):
    with pytest.raises(Refused) as caught:
        layers(pickle.dumps(WEIGHTS, protocol=4)[:cut])
    assert caught.value.reason is Reason.MALFORMED


def test_a_shape_that_does_not_fit_is_refused():
    data = pickle.dumps(WEIGHTS, protocol=4)
    assert data.count(b"K\x10K\x03K\x07K\x07") == 1
    with pytest.raises(Refused, match="do not hold"):
        layers(data.replace(b"K\x10K\x03K\x07K\x07", b"K\x10K\x04K\x07K\x07"))
