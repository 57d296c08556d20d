"""NumPy arrays inside torch checkpoints, in every protocol and container: equal to what NumPy unpickles."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from filterzoo.files import LocalFile
from filterzoo.layers.normalise import normalise, read
from filterzoo.layers.selection import select
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Tensor
from filterzoo_plugins.formats.torch import TorchFormat

DICE = np.random.default_rng(14)
SAVES = [(zipped, protocol) for zipped in (True, False) for protocol in (2, 3, 4, 5)]


def arrays(path: Path) -> dict[str, np.ndarray]:
    with LocalFile(path) as file, TensorReader(file) as reader:
        return {tensor.name: read(tensor, reader) for tensor in TorchFormat().index(file)}


def index(path: Path) -> list[Tensor]:
    with LocalFile(path) as file:
        return list(TorchFormat().index(file))


def weight(*shape: int, dtype: str = "<f4") -> np.ndarray:
    return DICE.normal(size=shape).astype(dtype)


@pytest.mark.parametrize(("zipped", "protocol"), SAVES)
def test_arrays_beside_tensors(zipped, protocol, tmp_path):
    state = {"a.weight": torch.randn(4, 3, 3, 3)}
    for dtype in ("<f4", ">f4", "<f8", "<f2", ">f8", "<i4"):
        for order in "CF":
            state[f"{dtype}{order}.weight"] = np.array(10 * weight(8, 4, 3, 3), dtype, order=order)  # type: ignore[call-overload]  # the argument is one of several words
        state[f"{dtype}.bias"] = weight(4).astype(dtype)  # type: ignore[assignment]  # another type on purpose
    path = tmp_path / "x.pth"
    torch.save({"state_dict": state, "epoch": 3}, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    found = arrays(path)
    assert list(found) == list(state)
    assert all(np.array_equal(found[name], value) for name, value in state.items())
    with LocalFile(path) as file, TensorReader(file) as reader:
        made = list(normalise(select(list(TorchFormat().index(file))), reader))
    assert len(made) == 11
    assert all(np.array_equal(each.weights, np.asarray(state[each.name], "f4")) for each in made)


@pytest.mark.parametrize("protocol", [2, 4])
def test_long_names_and_names_in_bytes(protocol, tmp_path):
    state = {"layer." * 2000 + "weight": weight(4, 3, 3, 3), b"encoder.layer1.0.conv1.weight": weight(8, 4, 3, 3)}
    state["unicode ÿ\x01 long enough.weight"] = weight(2, 8, 3, 3)
    torch.save(state, tmp_path / "x", pickle_protocol=protocol)
    found = arrays(tmp_path / "x")
    expected = {key.decode() if isinstance(key, bytes) else key: value for key, value in state.items()}
    assert list(found) == list(expected)
    assert all(np.array_equal(found[name], value) for name, value in expected.items())  # type: ignore[index]  # of a parsed or untyped object


def test_in_an_archive_that_was_packed_again(tmp_path):
    torch.save({"a.weight": weight(8, 3, 3, 3)}, tmp_path / "x")
    with (
        zipfile.ZipFile(tmp_path / "x") as source,
        zipfile.ZipFile(tmp_path / "y", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for member in source.infolist():
            target.writestr(member.filename, source.read(member.filename))
    assert np.array_equal(arrays(tmp_path / "y")["a.weight"], arrays(tmp_path / "x")["a.weight"])


class Device:
    """Pickles as a tensor of an XLA device does (torch/_tensor.py)."""

    def __init__(self, function: str, array: np.ndarray) -> None:
        self.function = function
        self.array = array

    def __reduce__(self):
        return getattr(torch._utils, self.function), (self.array, torch.float32, "xla:0", False)


@pytest.mark.parametrize("function", ["_rebuild_xla_tensor", "_rebuild_device_tensor_from_numpy"])
def test_tensors_of_xla_are_the_arrays_that_they_are_kept_as(function, tmp_path):
    array = weight(8, 3, 3, 3)
    torch.save({"a.weight": Device(function, array), "b.weight": torch.randn(4, 8, 3, 3)}, tmp_path / "x")
    found = arrays(tmp_path / "x")
    assert np.array_equal(found["a.weight"], array)
    assert list(found) == ["a.weight", "b.weight"]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("/tmp/filterzoo-evil-array",)  # it is never made


def test_only_odd_arrays_are_left_out(tmp_path):
    state = {
        "text": np.array(["a"]),
        "objects": np.array([{}, Evil()], dtype=object),
        "records": np.zeros(40, [("a", "f4"), ("b", "i4")]),
        "times": np.zeros(40, "datetime64[s]"),
        "empty": np.zeros((0, 3, 3, 3), "f4"),
        "a.weight": weight(8, 3, 3, 3),
    }
    torch.save(state, tmp_path / "x")
    assert [tensor.name for tensor in index(tmp_path / "x") if tensor.obstacle is None] == ["a.weight"]
    assert not os.path.exists("/tmp/filterzoo-evil-array")  # noqa: PTH110
