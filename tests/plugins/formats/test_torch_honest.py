"""Everything real torch writes is read, and the bytes that the index points at are the tensor's, bit for bit."""

from __future__ import annotations

import argparse
import collections
import pathlib
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from filterzoo.dtypes import DTYPES
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.layers.normalise import read as stored
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Context, Convolution, Kind, Layout, Tensor
from filterzoo_plugins.formats.torch import TorchFormat

FORMAT = TorchFormat()
DTYPE_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL", "complex64": "C64", "complex128": "C128",
    "uint16": "U16", "uint32": "U32", "uint64": "U64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
CONTAINERS: dict[str, dict[str, Any]] = {
    "zip": {},
    **{f"zip_protocol_{n}": {"pickle_protocol": n} for n in (3, 4, 5)},
    "legacy": {"_use_new_zipfile_serialization": False},
    **{f"legacy_protocol_{n}": {"_use_new_zipfile_serialization": False, "pickle_protocol": n} for n in (3, 4, 5)},
}


class RemoteFile(LocalFile):
    """A file whose reads are counted, as a server would."""

    is_remote = True

    def __init__(self, path: pathlib.Path) -> None:
        super().__init__(path)
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, length: int) -> bytes:
        self.reads.append((offset, length))
        return super().read(offset, length)


def bits(tensor: torch.Tensor) -> bytes:
    """The numbers of a tensor in C order, as bytes."""
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def read(path: pathlib.Path, kind: type[LocalFile] = LocalFile) -> dict[str, tuple[Tensor, bytes]]:
    with kind(path) as file, TensorReader(file) as reader:
        assert FORMAT.accepts(file.read(0, min(4096, file.size)), "weights")
        tensors = list(FORMAT.index(file))
        names = [(tensor.section, tensor.name) for tensor in tensors]
        assert len(set(names)) == len(names)
        return {tensor.name: (tensor, reader.read(tensor).tobytes()) for tensor in tensors}


def check(path: pathlib.Path, expected: dict[str, torch.Tensor], kind: type[LocalFile] = LocalFile) -> None:
    found = read(path, kind)
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        record, content = found[name]
        assert record.dtype == DTYPE_NAMES[str(tensor.dtype).removeprefix("torch.")], name
        assert record.shape == tuple(tensor.shape), name
        assert content == bits(tensor), name
        if record.strides is not None:
            assert record.strides == tensor.stride(), name
        assert record.strides is None or not tensor.is_contiguous(), name


def views() -> dict[str, torch.Tensor]:
    base = torch.randn(6, 4, 3, 3)
    return {
        "plain": base,
        "permuted": base.permute(2, 3, 0, 1),
        "channels_last": base.to(memory_format=torch.channels_last),
        "part": base[2:4, 1:3],
        "every_other": base[::2, :, 1:, ::2],
        "tied": base,
        "expanded": torch.randn(1, 4, 3, 3).expand(5, 4, 3, 3),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3, 3, 3),
        "vector": base[0, 0, 0],
        "windows": torch.arange(20.0).as_strided((4, 3), (2, 1), 3),
        "channels_last_3d": torch.randn(2, 3, 2, 2, 2).to(memory_format=torch.channels_last_3d),
        "parameter": nn.Parameter(torch.randn(4, 4, 3, 3)),
    }


def dtypes(names: collections.abc.Iterable[str]) -> dict[str, torch.Tensor]:
    whole = torch.arange(72).reshape(2, 4, 3, 3)
    return {name: whole.to(torch.float32).to(getattr(torch, name)) for name in names}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("kind", [LocalFile, RemoteFile])
def test_views(container, kind, tmp_path):
    expected = views()
    torch.save(expected, tmp_path / "x", **CONTAINERS[container])
    check(tmp_path / "x", expected, kind)


@pytest.mark.parametrize("container", CONTAINERS)
def test_dtypes(container, tmp_path):
    # Legacy files know no storages of the newer types; torch itself cannot read those back.
    names = list(DTYPE_NAMES)[:12] if container.startswith("legacy") else list(DTYPE_NAMES)
    expected = dtypes(names)
    torch.save(expected, tmp_path / "x", **CONTAINERS[container])
    check(tmp_path / "x", expected)


@pytest.mark.parametrize("container", CONTAINERS)
def test_sections(container, tmp_path):
    """A training checkpoint: the model, its average, the optimizer, and objects of any class beside them."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 9, 9)).sum().backward()
    optimizer.step()
    checkpoint: dict[str, Any] = {
        "epoch": 3,
        "args": argparse.Namespace(path=pathlib.Path("x"), rate=1e-3, array=np.arange(3)),
        "best": np.float64(0.5),
        "state_dict": model.state_dict(),
        "state_dict_ema": {name: value * 2 for name, value in model.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "queue": torch.randn(2, 3),
    }
    torch.save(checkpoint, tmp_path / "x", **CONTAINERS[container])
    with LocalFile(tmp_path / "x") as file, TensorReader(file) as reader:
        found = {(t.section, t.name): stored(t, reader).tobytes() for t in FORMAT.index(file)}
    for section in ("state_dict", "state_dict_ema"):
        for name, value in checkpoint[section].items():
            assert found[section, name] == bits(value)
    assert found["optimizer", "state.0.exp_avg"] == bits(optimizer.state_dict()["state"][0]["exp_avg"])
    assert found["", "queue"] == bits(checkpoint["queue"])
    assert found["", "args.array"] == np.arange(3).tobytes()
    sections = [section for section, _ in found]
    assert sections.index("state_dict") < sections.index("state_dict_ema") < sections.index("optimizer")


class Block(nn.Module):
    """A module with everything that may hang on one: tied parts, loose tensors, a way back to its owner."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2)
        self.up = nn.ConvTranspose2d(8, 4, 2, stride=2)
        self.depthwise = nn.Conv1d(4, 4, 3, groups=4, padding="same")
        self.again = self.up
        self.register_buffer("mask", torch.ones(2))
        self.parts = [self.conv1, self.up]
        self.owner = {"back": self}
        self.loose = torch.randn(2, 2)


@pytest.mark.parametrize("container", CONTAINERS)
def test_whole_modules_have_the_names_of_their_state_dict(container, tmp_path):
    block = nn.ModuleDict({"layer1": nn.ModuleList([Block()])})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # legacy files keep the source text of classes; torch warns where it finds none
        torch.save(block, tmp_path / "x", **CONTAINERS[container])
    found = read(tmp_path / "x")
    expected = block.state_dict()
    assert [name for name in found if not name.endswith("loose")] == list(expected)
    for name, value in expected.items():
        assert found[name][1] == bits(value), name
    assert found["layer1.0.loose"][1] == bits(block["layer1"][0].loose)  # type: ignore[index]  # an attribute of a torch module
    conv = found["layer1.0.conv1.weight"][0]
    assert conv.layout is Layout.OI_K
    assert conv.convolution == Convolution(
        kind=Kind.GROUPED, context=Context.DECLARED, groups=2, stride=(2, 1), dilation=(1, 2), padding=(1, 2)
    )
    for name in ("layer1.0.up.weight", "layer1.0.again.weight"):
        assert found[name][0].layout is Layout.IO_K
        assert found[name][0].convolution.kind is Kind.TRANSPOSED
        assert found[name][0].convolution.depth is None
    depthwise = found["layer1.0.depthwise.weight"][0].convolution
    assert (depthwise.kind, depthwise.groups, depthwise.padding) == (Kind.DEPTHWISE, 4, None)
    assert found["layer1.0.up.bias"][0].convolution is None


class Wrapped(torch.Tensor):
    """A tensor subclass, as fastai has them."""


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_subclasses_nested_parts_and_roots_of_any_kind(container, tmp_path):
    options = CONTAINERS[container]
    one = torch.randn(2, 2)
    for root, names in (
        ([one, (one, {"a": one})], ["0", "1.0", "1.1.a"]),
        ({"G": {"conv": {"weight": one}}, 5: one, None: one}, ["G.conv.weight", "5", "None"]),
        ({"sub": one.as_subclass(Wrapped)}, ["sub"]),
        (collections.defaultdict(list, {"d": [one]}), ["d.0"]),
        ({"model": {"model": one}}, ["model"]),
        (argparse.Namespace(weights=one), ["weights"]),
    ):
        torch.save(root, tmp_path / "x", **options)
        found = read(tmp_path / "x")
        assert list(found) == names
        assert all(content == bits(one) for _, content in found.values())


def _quantised(values, scales, zero_points):
    return {
        "per_tensor": torch.quantize_per_tensor(values, 0.25, 3, torch.quint8),
        "per_channel": torch.quantize_per_channel(values, scales, zero_points, 0, torch.qint8),
    }


def test_quantised_tensors_come_with_their_scales(tmp_path):
    values = torch.randn(4, 3, 3, 3)
    scales, zero_points = torch.rand(4, dtype=torch.float64) + 0.1, torch.tensor([0, 1, -2, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in torch, and in the zoos for ever
        tensors = _quantised(values, scales, zero_points)
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(tensors, tmp_path / "x", **options)
        found = read(tmp_path / "x")
        assert found["per_tensor"][0].dtype == "U8"
        assert found["per_channel"][0].dtype == "I8"
        for name, tensor in tensors.items():
            assert found[name][1] == bits(tensor.int_repr())
        assert found["per_tensor"][0].quantisation.scales == (0.25,)
        assert found["per_tensor"][0].quantisation.zero_points == (3,)
        per_channel = found["per_channel"][0].quantisation
        assert (per_channel.scales, per_channel.zero_points) == (tuple(scales.tolist()), (0, 1, -2, 3))
        assert per_channel.axis == 0


@pytest.mark.parametrize("is_script", [False, True])
def test_quantised_modules_say_what_they_do(is_script, tmp_path):
    """They pickle themselves as a tuple, with the weight somewhere in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = nn.Sequential(
            torch.ao.nn.quantized.Conv2d(4, 4, 3, stride=2, groups=2),
            torch.ao.nn.quantized.ConvTranspose2d(4, 2, 3, bias=False),
        ).eval()
        if is_script:
            torch.jit.save(torch.jit.script(model), tmp_path / "x")
        else:
            torch.save(model, tmp_path / "x")
    found = read(tmp_path / "x")
    assert {name for name in found if name.endswith("weight")} == {"0.weight", "1.weight"}
    for name, module in (("0.weight", model[0]), ("1.weight", model[1])):
        record, content = found[name]
        assert (record.dtype, record.convolution.stride) == ("I8", module.stride)  # type: ignore[comparison-overlap]  # an attribute of a torch module
        assert record.convolution.groups == module.groups
        assert record.quantisation is not None
        assert content == bits(module.weight().int_repr())  # type: ignore[operator]  # an attribute of a torch module
    assert found["0.weight"][0].convolution.kind is Kind.GROUPED
    assert found["1.weight"][0].convolution.kind is Kind.TRANSPOSED
    assert found["1.weight"][0].layout is Layout.IO_K


def crc(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(4, "little")


def test_big_endian_files_are_refused(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "x")
    changed = (tmp_path / "x").read_bytes()
    little, big = b"little", b"big\0\0\0"
    for old, new in ((little, big), (crc(little), crc(big))):
        assert old in changed
        changed = changed.replace(old, new)
    (tmp_path / "x").write_bytes(changed)
    with pytest.raises(Refused) as refusal:
        read(tmp_path / "x")
    assert refusal.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_a_remote_file_is_indexed_in_a_few_reads_and_without_its_weights(options, tmp_path):
    state = {f"layer{n}.weight": torch.randn(64, 64, 3, 3) for n in range(60)}
    torch.save(state, tmp_path / "x", **options)
    with RemoteFile(tmp_path / "x") as file:
        assert len(list(FORMAT.index(file))) == 60
        assert len(file.reads) <= 4
        assert sum(length for _, length in file.reads) < 200_000 < file.size // 40


def test_every_known_dtype_is_written_by_torch():
    assert set(DTYPE_NAMES.values()) == set(DTYPES)
