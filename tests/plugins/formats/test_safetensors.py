from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats.safetensors_files import HOSTILE, NAMES, entry, hostile_names, safetensors_bytes

from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.layers.selection import select, selection
from filterzoo.layers.stored import TensorReader
from filterzoo.records import FileFacts, Tensor
from filterzoo_plugins.formats.safetensors import FIRST_READ, Safetensors


def index(data: bytes) -> list[Tensor]:
    return list(Safetensors().index(MemoryFile(data)))


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0)
    return {
        "z.weight": numbers.normal(size=(4, 3, 3, 3)).astype("f4"),
        "half": numbers.normal(size=(2, 2, 1, 1)).astype("f2"),
        "double": numbers.normal(size=(5,)),
        "count": np.array(7, "i8"),
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 3), "f4"),
        "bytes": np.arange(6, dtype="u1"),
    }


def test_every_tensor_equals_what_the_reference_reads(arrays, tmp_path):
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "model.safetensors"
    save_file(arrays, path, {"format": "pt", "license": "mit"})
    reference = load_file(path)
    with LocalFile(path) as file, TensorReader(file) as reader:
        tensors = list(Safetensors().index(file))
        assert {tensor.name for tensor in tensors} == set(reference)
        for tensor in tensors:
            array = reader.read(tensor)
            assert array.dtype == reference[tensor.name].dtype
            assert array.shape == reference[tensor.name].shape
            assert array.tobytes() == reference[tensor.name].tobytes()
        assert Safetensors().facts(file) == FileFacts("torch", "mit")
        offsets = [tensor.span.offset for tensor in tensors]
        assert offsets == sorted(offsets)


def test_bfloat16_and_float8_come_back_bit_for_bit(tmp_path):
    import torch
    from safetensors.torch import save_file

    stored = {
        dtype: torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
        for dtype in (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
    }
    path = tmp_path / "model.safetensors"
    save_file({str(dtype): tensor for dtype, tensor in stored.items()}, path)
    with LocalFile(path) as file, TensorReader(file) as reader:
        names = {"BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2}
        tensors = list(Safetensors().index(file))
        assert {tensor.dtype for tensor in tensors} == set(names)
        for tensor in tensors:
            bits = stored[names[tensor.dtype]].view(torch.uint8).numpy().tobytes()
            assert reader.read(tensor).tobytes() == bits


def test_a_file_costs_one_read_of_its_head():
    file = MemoryFile(safetensors_bytes({"w": entry(0, 1 << 20, [1 << 18])}, bytes(1 << 20)))
    list(Safetensors().index(file))
    assert file.reads[-1] == (0, FIRST_READ)
    assert sum(length for _, length in file.reads) <= FIRST_READ + 9


def test_a_long_header_is_read_to_its_end_and_no_further():
    names = [f"{number:0100d}" for number in range(1000)]
    header = {name: entry(4 * place, 4 * place + 4, [1]) for place, name in enumerate(names)}
    data = safetensors_bytes(header, bytes(4000))
    file = MemoryFile(data)
    assert [tensor.name for tensor in Safetensors().index(file)] == names
    assert max(offset + length for offset, length in file.reads) == len(data) - 4000


def test_tensors_come_in_the_order_of_their_bytes():
    data = safetensors_bytes({"b": entry(36, 72), "a": entry(0, 36), "none": entry(36, 36, [0])}, bytes(72))
    assert [tensor.name for tensor in index(data)] == ["a", "none", "b"]


def test_hostile_names_are_only_names():
    assert [tensor.name for tensor in index(hostile_names())] == NAMES


@pytest.mark.parametrize("wrong", HOSTILE)
def test_refused(wrong):
    data, reason = HOSTILE[wrong]
    with pytest.raises(Refused) as refusal:
        index(data)
    assert refusal.value.reason is reason
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("metadata", "facts"),
    [
        ({}, FileFacts()),
        ({"format": "pt"}, FileFacts("torch")),
        ({"format": "tf", "licence": " apache-2.0 "}, FileFacts("tensorflow", "apache-2.0")),
        ({"format": "flax"}, FileFacts("flax")),
        ({"format": "np", "modelspec.license": "MIT"}, FileFacts("numpy", "MIT")),
        ({"format": "evil", "license": ""}, FileFacts()),
        ({"license": "x" * 2000}, FileFacts()),
    ],
)
def test_facts(metadata, facts):
    assert Safetensors().facts(MemoryFile(safetensors_bytes({"__metadata__": metadata}, b""))) == facts


@pytest.mark.parametrize(
    ("head", "name", "accepted"),
    [
        (safetensors_bytes({"w": entry()}), "weights.bin", True),
        (safetensors_bytes({"w": entry()}, length=1 << 63), "model.safetensors", True),
        (safetensors_bytes({"w": entry()}, length=1 << 63), "model.bin", False),
        (safetensors_bytes(b"xxxx"), "model.safetensors", True),
        (b"<!DOCTYPE html><html>404 Not Found</html>", "model.safetensors", False),
        (b'{"error": "rate limited"}', "model.safetensors", False),
        (b'{"metadata": {}, "weight_map": {}}', "any.json", True),
        (b'{"metadata": {"long": "', "model.safetensors.index.json", True),
        (bytes(4096), "model.safetensors", False),
        (b"", "model.safetensors", False),
    ],
)
def test_accepts(head, name, accepted):
    assert Safetensors().accepts(head, name) is accepted


def write_shards(folder: Path, weight_map: dict[str, Any], shards: dict[str, list[str]]) -> LocalFile:
    for shard, names in shards.items():
        header = {name: entry(36 * place, 36 * place + 36) for place, name in enumerate(names)}
        metadata = {"__metadata__": {"format": "pt"}}
        body = b"".join(np.full(9, ord(name[0]), "<f4").tobytes() for name in names)
        (folder / shard).write_bytes(safetensors_bytes(metadata | header, body))
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return LocalFile(path)


def test_shards_are_read_beside_their_index(tmp_path):
    weight_map = {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}
    shards = {"1.safetensors": ["c", "a"], "2.safetensors": ["b", "not-named"]}
    with write_shards(tmp_path, weight_map, shards) as file, TensorReader(file) as reader:
        tensors = list(Safetensors().index(file))
        assert [(tensor.name, tensor.span.side) for tensor in tensors] == [
            ("c", "1.safetensors"),
            ("a", "1.safetensors"),
            ("b", "2.safetensors"),
        ]
        assert [chr(int(reader.read(tensor)[0, 0])) for tensor in tensors] == ["c", "a", "b"]
        assert Safetensors().facts(file) == FileFacts("torch")


@pytest.mark.parametrize(
    ("weight_map", "reason"),
    [
        ({"a": "../1.safetensors"}, Reason.UNSAFE),
        ({"a": "/etc/1.safetensors"}, Reason.UNSAFE),
        ({"a": "..\\1.safetensors"}, Reason.UNSAFE),
        ({"a": "1.safetensors\0.safetensors"}, Reason.UNSAFE),
        ({"a": "link.safetensors"}, Reason.UNSAFE),
        ({"a": "missing.safetensors"}, Reason.MALFORMED),
        ({"a": "pytorch_model-00001.bin"}, Reason.UNSUPPORTED),
        ({"elsewhere": "1.safetensors"}, Reason.MALFORMED),
        ({"a": 1}, Reason.MALFORMED),
        (["a"], Reason.MALFORMED),
    ],
)
def test_refused_shards(weight_map, reason, tmp_path):
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "1.safetensors")
    with write_shards(tmp_path, weight_map, {"1.safetensors": ["a"]}) as file, pytest.raises(Refused) as refusal:
        list(Safetensors().index(file))
    assert refusal.value.reason is reason


def test_damage_is_refused_or_read_and_nothing_else_is_raised():
    good = safetensors_bytes({"__metadata__": {"format": "pt"}, "a": entry(), "b": entry(36, 72)}, bytes(72))
    dice = random.Random(0)
    refused = 0
    for _ in range(5000):
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(good) - 72)] = dice.randrange(256)
        try:
            tensors = index(bytes(data[: dice.choice([len(data), dice.randrange(len(data))])]))
        except Refused:
            refused += 1
        else:
            assert sum(tensor.span.length for tensor in tensors) == 72
    assert 4000 < refused < 5000


def test_only_an_f4_weight_and_its_scale_are_left_out(tmp_path):
    """It is left out by name; what is no convolution, as of experts, is not."""
    header = {"__metadata__": {"format": "pt"}, "a.weight": entry(0, 144, shape=[4, 1, 3, 3])}
    header["b.weight"] = {"dtype": "F4", "shape": [4, 4, 1, 1], "data_offsets": [144, 152]}
    header["b.weight_scale"] = {"dtype": "F32", "shape": [], "data_offsets": [152, 156]}
    header["experts.weight"] = {"dtype": "F4", "shape": [2, 8, 8], "data_offsets": [156, 220]}
    found = selection(index(safetensors_bytes(header, bytes(220))))
    assert [tensor.name for tensor in found.convolutions] == ["a.weight"]
    assert [(left.name, left.detail) for left in found.left_out] == [("b.weight", "numbers of 4 bits (F4)")]
    assert found.words() == "1 undecided"


def test_a_tied_name_that_only_the_metadata_has(tmp_path):
    """safetensors.torch.save_model leaves out one of two names of a tensor, and says so in the metadata."""
    import torch
    from safetensors.torch import save_model

    first, second = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(3, 8, 3)
    second.weight = first.weight
    save_model(torch.nn.ModuleDict({"a": first, "b": second}), str(tmp_path / "x.safetensors"))
    with LocalFile(tmp_path / "x.safetensors") as file, TensorReader(file) as reader:
        made = {tensor.name: reader.read(tensor) for tensor in select(list(Safetensors().index(file)))}
    assert set(made) == {"a.weight", "b.weight"}
    assert all(np.array_equal(each, first.weight.detach().numpy()) for each in made.values())


def test_the_shards_beside_an_index_are_its_parts_in_an_archive():
    format_ = Safetensors()
    assert format_.includes("a/model.safetensors.index.json", "a/model-00001-of-00002.safetensors")
    assert not format_.includes("a/model.safetensors.index.json", "a/other-00001-of-00002.safetensors")
    assert not format_.includes("a/model.safetensors.index.json", "b/model-00001-of-00002.safetensors")
