"""`filterzoo.open`: every tensor as its framework reads it, by ranges, out of archives, with every checksum."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save as save_safetensors
from safetensors.torch import save_file
from tests.model_hub import TOKEN, ModelHub, Repo
from tests.servers import WebServer

import filterzoo
from filterzoo.commands.cat import cat
from filterzoo.commands.inspect import inspect
from filterzoo.errors import StartError
from filterzoo.reader.locations import location_of
from filterzoo.records import Kind

TYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float8_e4m3fnuz,
    torch.float8_e5m2fnuz,
    torch.float8_e8m0fnu,
    torch.int64,
    torch.int8,
    torch.uint8,
    torch.bool,
]
IN_NUMPY = {torch.float64, torch.float32, torch.float16, torch.int64, torch.int8, torch.uint8, torch.bool}


@pytest.fixture(scope="module")
def reader():
    """One warm jail for the whole module."""
    with filterzoo.Reader(allow_private=True) as opened:
        yield opened


def state_of_every_type() -> dict[str, torch.Tensor]:
    """Every code of the 8-bit types, no convolution, a scalar and an empty array."""
    codes = torch.arange(256, dtype=torch.uint8)
    state = {
        f"of.{dtype}": codes.clone().view(dtype) if dtype.itemsize == 1 else codes.to(dtype, copy=True)
        for dtype in TYPES[:-1]
    }
    return state | {"flag": codes > 7, "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}


def as_numpy(value: torch.Tensor) -> np.ndarray:
    return value.numpy() if value.dtype in IN_NUMPY else value.float().numpy()


def assert_same(file: filterzoo.ModelFile, state: dict[str, torch.Tensor]) -> None:
    assert set(file) == set(state)
    for name, value in state.items():
        expected = as_numpy(value)
        array = file[name]
        assert array.dtype == expected.dtype, name
        np.testing.assert_array_equal(array, expected, err_msg=name)
        assert array.flags.writeable, name
        assert array.flags.c_contiguous, name
        assert file.tensors[name].shape == tuple(value.shape)


def write_torch(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path)


def write_legacy(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [write_torch, write_legacy, save_file])
def test_every_type_is_what_its_framework_reads(tmp_path, reader, write):
    state = state_of_every_type()
    write(state, tmp_path / "m")
    with reader.open(tmp_path / "m") as file:
        assert_same(file, state)
        assert file.layers == ()


def test_views_and_tied_tensors_of_a_torch_file(tmp_path, reader):
    base = torch.arange(720.0).reshape(2, 10, 6, 6)
    state = {
        "base": base,
        "view": base[:, ::3, 1:5:2].transpose(0, 3),
        "tied": base,
        "expanded": base[:1].expand(4, -1, -1, -1),
    }
    torch.save(state, tmp_path / "m.pth")
    with reader.open(tmp_path / "m.pth") as file:
        assert_same(file, state)


def test_a_name_that_two_state_dicts_share_is_spelled_with_its_section(tmp_path, reader):
    torch.save({"model": {"w": torch.ones(2)}, "ema": {"w": torch.zeros(2), "v": torch.ones(1)}}, tmp_path / "m.pth")
    with reader.open(tmp_path / "m.pth") as file:
        assert {name: array.tolist() for name, array in file.items()} == {"model.w": [1, 1], "ema.w": [0, 0], "v": [1]}


def test_keras_and_numpy_files(tmp_path, reader):
    kernel = np.arange(108, dtype="f4").reshape(3, 3, 3, 4)
    with h5py.File(tmp_path / "m.h5", "w") as held:
        group = held.create_group("model_weights/conv/conv")
        held["model_weights"].attrs["layer_names"] = [b"conv"]
        held["model_weights/conv"].attrs["weight_names"] = [b"conv/kernel:0", b"conv/bias:0"]
        group.create_dataset("kernel:0", data=kernel, chunks=(2, 3, 3, 4), compression="gzip", shuffle=True)
        group.create_dataset("bias:0", data=np.arange(4, dtype="f4"))
    np.savez_compressed(tmp_path / "m.npz", a=kernel, b=np.asfortranarray(kernel[0]))
    with reader.open(tmp_path / "m.h5") as file:
        assert sorted(array.shape for array in file.values()) == [(3, 3, 3, 4), (4,)]
        assert any(np.array_equal(array, kernel) for array in file.values() if array.ndim == 4)
        np.testing.assert_array_equal(file.layers[0].weights, kernel.transpose(3, 2, 0, 1))
    with reader.open(tmp_path / "m.npz") as file:
        np.testing.assert_array_equal(file["a"], kernel)
        np.testing.assert_array_equal(file["b"], kernel[0])


def test_an_onnx_file_gives_stored_arrays_and_canonical_layers(tmp_path, reader):
    weight = np.arange(216, dtype="f4").reshape(3, 3, 4, 6)
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"], perm=[3, 2, 0, 1]),
        helper.make_node("Conv", ["x", "t"], ["y"], strides=[2, 2]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 8, 8])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    arrays = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.arange(3), "unread")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, arrays)), tmp_path / "m.onnx")
    with reader.open(tmp_path / "m.onnx") as file:
        np.testing.assert_array_equal(file["w"], weight)
        np.testing.assert_array_equal(file["unread"], np.arange(3))
        (layer,) = file.layers
        assert (layer.name, layer.kind, layer.shape, layer.stride) == ("w", Kind.CONV, (6, 4, 3, 3), (2, 2))
        np.testing.assert_array_equal(layer.weights, weight.transpose(3, 2, 0, 1))


def test_layers_are_those_of_the_data_set(tmp_path, reader, capsys):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ConvTranspose2d(8, 4, 3))
    torch.save(model.state_dict(), tmp_path / "m.pth")
    seen = inspected(capsys, tmp_path / "m.pth")["layers"]
    with reader.open(tmp_path / "m.pth") as file:
        assert [(layer.name, list(layer.shape), layer.kind, layer.conv_depth) for layer in file.layers] == [
            (layer["name"], layer["shape"], layer["kind"], layer["conv_depth"]) for layer in seen
        ]
        expected = model[1].weight.detach().numpy().swapaxes(0, 1)  # type: ignore[operator]  # an attribute of a torch module
        np.testing.assert_array_equal(file.layers[1].weights, expected)
        assert len(file.layers[1].layer_id) == 64


def test_damage_is_found_where_it_is_and_nowhere_else(tmp_path, reader):
    state = {"good": torch.arange(50.0), "bad": torch.arange(50.0) + 1000}
    torch.save(state, tmp_path / "m.pth")
    content = bytearray((tmp_path / "m.pth").read_bytes())
    content[content.index(state["bad"].numpy().tobytes()) + 9] ^= 1
    (tmp_path / "m.pth").write_bytes(content)
    with reader.open(tmp_path / "m.pth") as file:
        np.testing.assert_array_equal(file["good"], state["good"].numpy())
        with pytest.raises(filterzoo.Refused) as refused:
            file["bad"]
        assert refused.value.reason == "damaged"


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_of_an_archive(tmp_path, reader, compression):
    states = {"pkg/a.safetensors": {"w": torch.ones(3)}, "pkg/b.safetensors": {"w": torch.zeros(2)}}
    with zipfile.ZipFile(tmp_path / "models.whl", "w", compression) as archive:
        for name, state in states.items():
            archive.writestr(name, save_safetensors(state))
    with pytest.raises(filterzoo.Refused, match="2 model files, name one"):
        reader.open(tmp_path / "models.whl")
    with reader.open(f"{tmp_path}/models.whl!pkg/b.safetensors") as file:
        assert (file.member, file["w"].tolist()) == ("pkg/b.safetensors", [0, 0])
    with reader.open(tmp_path / "models.whl", member="pkg/a.safetensors") as file:
        assert file["w"].tolist() == [1, 1, 1]


def test_the_checksum_of_a_stored_member_covers_a_format_that_has_none(tmp_path, reader):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.safetensors", save_safetensors({"w": torch.arange(64.0)}))
    content = bytearray(buffer.getvalue())
    content[content.index(torch.arange(64.0).numpy().tobytes()) + 100] ^= 4
    (tmp_path / "m.zip").write_bytes(content)
    with reader.open(tmp_path / "m.zip") as file, pytest.raises(filterzoo.Refused, match="CRC-32"):
        file["w"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "unknown_format"), (b"<html></html>", "unknown_format"), (b"PK\3\4" + bytes(60), "malformed")],
)
def test_what_is_no_model_is_refused(tmp_path, reader, content, reason):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(filterzoo.Refused) as refused:
        reader.open(tmp_path / "m")
    assert refused.value.reason == reason


def test_what_is_not_there_is_refused_or_no_key(tmp_path, reader):
    with pytest.raises(filterzoo.Refused, match="No such file"):
        reader.open(tmp_path / "nothing")
    with pytest.raises(filterzoo.Refused, match="hf://user/name/file"):
        reader.open("hf://user")
    save_file({"w": torch.ones(1)}, tmp_path / "m")
    file = reader.open(tmp_path / "m")
    assert "v" not in file
    assert file.get("v") is None
    assert repr(file).endswith(": safetensors, 1 tensor>")
    with pytest.raises(KeyError, match="'ww': no such tensor; did you mean 'w'"):
        file["ww"]
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file["w"]


def test_a_remote_file_is_read_by_ranges(tmp_path, reader, monkeypatch):
    monkeypatch.setenv("FILTERZOO_CACHE", str(tmp_path / "cache"))
    state = {f"w{number}": torch.randn(250_000) for number in range(20)}
    with WebServer() as server:
        url = server.add("/m.safetensors", save_safetensors(state))
        with reader.open(url) as file:
            np.testing.assert_array_equal(file["w7"], state["w7"].numpy())
            assert server.sent < 2_000_000
            before = len(server.requests)
            file.prefetch(["w10", "w11", "w12"])
            for name in ("w10", "w11", "w12"):
                np.testing.assert_array_equal(file[name], state[name].numpy())
            assert len(server.requests) - before <= 4
    assert all(ranges for _, ranges, _ in server.requests)


def test_a_file_of_the_hub_with_its_token(tmp_path, reader, monkeypatch):
    monkeypatch.setenv("FILTERZOO_CACHE", str(tmp_path / "cache"))
    with ModelHub() as hub:
        repo = Repo({"sub/m.safetensors": save_safetensors({"w": torch.ones(3)})}, {"gated": "manual"})
        hub.repos["a/b"] = repo
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        with reader.open(f"hf://a/b@{repo.sha}/sub/m.safetensors") as file:
            assert file["w"].tolist() == [1, 1, 1]
        stored = [headers for path, _, headers in hub.requests if path.startswith("/storage/")]
        assert stored
        assert not any("authorization" in map(str.lower, headers) for headers in stored)


@pytest.mark.parametrize(
    ("where", "url", "member"),
    [
        ("hf://a/b/c.bin", "https://huggingface.co/a/b/resolve/main/c.bin", None),
        ("hf://a/b@x%2Fy/d/c.bin", "https://huggingface.co/a/b/resolve/x%2Fy/d/c.bin", None),
        ("hf://datasets/a/b/c.zip!d e/m.pt", "https://huggingface.co/datasets/a/b/resolve/main/c.zip", "d e/m.pt"),
        ("https://h/a.whl!/b.pt", "https://h/a.whl", "b.pt"),
        ("https://h/wow!.pt?x=1", "https://h/wow!.pt?x=1", None),
    ],
)
def test_addresses(monkeypatch, where, url, member):
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    place = location_of(where)
    assert (place.url, place.member) == (url, member)


def inspected(capsys, path: Path, **options) -> dict:
    inspect([str(path)], as_json=True, **options)
    return json.loads(capsys.readouterr().out)


def test_cat_writes_what_the_framework_reads(tmp_path):
    state = {"conv.weight": torch.randn(4, 3, 3, 3), "conv.bias": torch.randn(4).bfloat16()}
    save_file(state, tmp_path / "m.safetensors")
    cat(str(tmp_path / "m.safetensors"), "conv.bias", tmp_path / "x.npy", layer=False, allow_private=False)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), state["conv.bias"].float().numpy())
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["m.safetensors", "x.npy"]
    with pytest.raises(StartError, match=r"no tensor conv.weights; the nearest are conv.weight"):
        cat(str(tmp_path / "m.safetensors"), "conv.weights", None, layer=False, allow_private=False)
    with pytest.raises(StartError, match="cannot write"):
        cat(str(tmp_path / "m.safetensors"), "conv.bias", tmp_path / "no" / "x", layer=False, allow_private=False)


def test_inspect_lists_every_tensor(tmp_path, capsys):
    save_file({"w": torch.randn(4, 3, 3, 3), "conv.bias": torch.randn(4).bfloat16()}, tmp_path / "m.safetensors")
    listed = inspected(capsys, tmp_path / "m.safetensors", tensors=True)
    assert listed["tensors"] == 2
    assert {one["name"]: (one["dtype"], one["shape"], one["layout"]) for one in listed["all_tensors"]} == {
        "w": ("F32", [4, 3, 3, 3], "open"),
        "conv.bias": ("BF16", [4], None),
    }


_WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "timm", "torchvision", "datasets", "onnx", "onnxruntime"}:
            raise ImportError(f"{name} is not installed")
sys.meta_path.insert(0, Absent())
import filterzoo
with filterzoo.open(sys.argv[1]) as file:
    print(file["conv.weight"].sum(), [layer.shape for layer in file.layers])
"""


def test_it_needs_no_torch_no_timm_no_datasets(tmp_path):
    torch.save({"conv.weight": torch.ones(2, 3, 3, 3)}, tmp_path / "m.pth")
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT, str(tmp_path / "m.pth")], capture_output=True, text=True, check=False
    )
    assert ran.stdout == "54.0 [(2, 3, 3, 3)]\n", ran.stderr


@pytest.mark.parametrize(
    ("data_type", "numbers"), [(TensorProto.INT8, "i1"), (TensorProto.UINT8, "u1"), (TensorProto.INT32, "<i4")]
)
def test_integers_that_onnx_packs_as_varints_are_read_as_numbers(data_type, numbers, reader, tmp_path):
    array = np.arange(-60, 60).astype(numbers).reshape(4, 30)
    packed = helper.make_tensor("packed", data_type, array.shape, array.reshape(-1).tolist())
    assert not packed.raw_data
    model = helper.make_model(helper.make_graph([], "g", [], [], [packed]))
    onnx.save(model, tmp_path / "x.onnx")
    with reader.open(tmp_path / "x.onnx") as file:
        assert (file["packed"].dtype, file["packed"].shape) == (array.dtype, array.shape)
        assert np.array_equal(file["packed"], array)


@pytest.mark.parametrize("data_type", [TensorProto.INT4, TensorProto.UINT4])
def test_integers_of_four_bits_are_read_as_numbers(data_type, reader, tmp_path):
    numbers = list(range(-8, 8)) if data_type == TensorProto.INT4 else list(range(16))
    packed = helper.make_tensor("packed", data_type, (2, 8), numbers)
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [], [packed])), tmp_path / "x.onnx")
    with reader.open(tmp_path / "x.onnx") as file:
        assert file["packed"].reshape(-1).tolist() == numbers
