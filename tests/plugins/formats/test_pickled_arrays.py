"""Bare pickles of NumPy arrays, as PaddlePaddle and Detectron2 write them, and of torch tensors."""

from __future__ import annotations

import collections
import os
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from tests.memory_file import MemoryFile

import filterzoo
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


@pytest.mark.parametrize("protocol", [1, 3, 4, 5])
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


def state_of_torch() -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.nn.Parameter(torch.from_numpy(array)) for name, array in WEIGHTS.items()}


def test_a_pickle_of_torch_tensors(tmp_path):
    """`pickle.dump(model.state_dict())`: a legacy save inside for each storage; NumPy arrays may stand beside."""
    pooled = torch.arange(432.0).reshape(12, 4, 3, 3)
    state = {**state_of_torch(), "half.weight": pooled[::2].half(), "array.weight": WEIGHTS["vbk"]}
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(state, protocol=4))
    with filterzoo.open(path) as file:
        assert (file.format, file.framework) == ("pickle", "torch")
        for name, value in state.items():
            assert np.array_equal(file[name], np.asarray(value.detach() if isinstance(value, torch.Tensor) else value))
        assert len(file.layers) == 4


def test_a_pickled_module_and_one_of_stylegan_keep_their_names():
    module = torch.nn.Sequential(torch.nn.ConvTranspose2d(8, 4, 3))
    (made,) = layers(pickle.dumps({"G_ema": module}, protocol=4))
    assert (made.name, made.kind, made.weights.shape) == ("G_ema.0.weight", "transposed", (4, 8, 3, 3))
    data = pickle.dumps({"G": StyleGan({"_parameters": {"weight": state_of_torch()["vbk.weight"]}})}, protocol=4)
    (made,) = layers(data.replace(b"rebuilt_by_its_source_code_", b"_reconstruct_persistent_obj"))
    assert (made.name, made.weights.shape) == ("G.weight", (32, 16, 3, 3))


def rebuilt_by_its_source_code_(meta: object) -> None:
    """Stands for torch_utils/persistence.py."""


class StyleGan:
    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def __reduce__(self):
        return rebuilt_by_its_source_code_, ({"class_name": "Layer", "module_src": "boom()", "state": self.state},)


def test_torch_tensors_as_text_cost_themselves():
    listed = list(PickleFormat().index(MemoryFile(pickle.dumps(state_of_torch(), protocol=2))))
    assert [each.shape for each in listed] == [array.shape for array in WEIGHTS.values()]
    assert all("written as text" in str(each.obstacle) for each in listed)


@pytest.mark.parametrize(
    ("old", "new", "detail"),
    [
        (b"\x6c\xfc\x9c\x46\xf9", b"\x6c\xfc\x9c\x46\xf8", "no torch storage"),
        (b"FloatStorage", b"FloatStorags", None),
        ((9 * 16 * 3 * 7 * 7 // 9).to_bytes(8, "little"), (1 << 40).to_bytes(8, "little"), "not as long"),
        (b"little_endian", b"little_endiam", "no torch storage"),
    ],
)
def test_a_damaged_torch_storage_is_refused(old, new, detail):
    data = pickle.dumps(state_of_torch(), protocol=4)
    assert old in data
    if detail is None:
        assert next(PickleFormat().index(MemoryFile(data.replace(old, new)))).obstacle
        return
    with pytest.raises(Refused, match=detail) as caught:
        list(PickleFormat().index(MemoryFile(data.replace(old, new))))
    assert caught.value.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (pickle.dumps(WEIGHTS, protocol=0), "protocol 0"),
        (pickle.dumps(collections.OrderedDict(WEIGHTS), protocol=0), "protocol 0"),
        (b"\x80\x04cjoblib.numpy_pickle\nNumpyArrayWrapper\n)\x81.", "joblib"),
        (b"\x80\x02ctorch.distributed.checkpoint.metadata\nMetadata\n)\x81.", "torch.distributed.checkpoint"),
    ],
)
def test_pickles_of_another_kind_are_refused_by_name(data, detail):
    assert PickleFormat().accepts(data[:4096], "x.pkl")
    with pytest.raises(Refused, match=detail) as caught:
        layers(data)
    assert caught.value.reason is Reason.UNSUPPORTED


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
