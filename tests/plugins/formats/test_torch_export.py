"""Archives of torch.export, zips that were packed again, and several saves in one file."""

from __future__ import annotations

import json
import warnings
import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from tests.memory_file import MemoryFile
from torch import nn

from filterzoo.errors import Reason, Refused
from filterzoo.layers.normalise import normalise
from filterzoo.layers.selection import select
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Context, Kind
from filterzoo_plugins.formats.torch import TorchFormat

WEIGHT = torch.arange(8 * 3 * 9, dtype=torch.float32).reshape(8, 3, 3, 3)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q1, self.z2 = nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 8, 3, groups=8)
        self.x3 = nn.ConvTranspose2d(8, 4, 2)
        self.k4 = nn.Parameter(torch.zeros(3, 3, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.x3(self.z2(torch.relu(self.q1(x)))) + self.k4.sum()


@pytest.fixture(scope="module")
def exported() -> tuple[Net, bytes]:
    torch.manual_seed(0)
    net = Net().eval()
    stream = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(net, (torch.randn(1, 3, 32, 32),)), stream)
    return net, stream.getvalue()


def layers(data: bytes):
    file = MemoryFile(data)
    with TensorReader(file) as reader:
        return list(normalise(select(list(TorchFormat().index(file))), reader))


def test_an_export_is_read_as_its_graph_says(exported):
    net, data = exported
    made = layers(data)
    assert TorchFormat().accepts(data[:4096], "net.pt2")
    assert [(each.name, each.kind, each.groups, each.stride, each.context) for each in made] == [
        ("q1.weight", Kind.CONV, 1, (2, 2), Context.GRAPH),
        ("z2.weight", Kind.DEPTHWISE, 8, (1, 1), Context.GRAPH),
        ("x3.weight", Kind.TRANSPOSED, 1, (1, 1), Context.GRAPH),
    ]
    assert np.array_equal(made[0].weights, net.q1.weight.detach().numpy())
    assert np.array_equal(made[2].weights, net.x3.weight.detach().numpy().swapaxes(0, 1))
    assert [each.conv_depth for each in made] == [0, 1, 2]


def changed(data: bytes, ending: str, change) -> bytes:
    stream = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(ending):
                content = change(content)
            if content is not None:
                new.writestr(name, content)
    return stream.getvalue()


def edited(**fields):
    def change(content: bytes) -> bytes:
        document = json.loads(content)
        entry = document["config"]["q1.weight"]
        for name, value in fields.items():
            (entry if name in entry else entry["tensor_meta"])[name] = value
        return json.dumps(document).encode()

    return change


@pytest.mark.parametrize(
    ("ending", "change", "reason"),
    [
        ("weights_config.json", lambda _: b"[]", Reason.MALFORMED),
        ("weights_config.json", lambda _: b'{"config": 3}', Reason.MALFORMED),
        ("weights_config.json", edited(path_name="../weight_0"), Reason.MALFORMED),
        ("weights_config.json", edited(use_pickle=True), Reason.UNSUPPORTED),
        ("weights_config.json", edited(sizes=[{"as_int": 1 << 40}] * 4), Reason.MALFORMED),
        ("weights_config.json", edited(sizes=[{"as_expr": "s0"}] * 4), Reason.MALFORMED),
        ("weights_config.json", edited(storage_offset={"as_int": 1}), Reason.MALFORMED),
        ("weights_config.json", edited(dtype=99), Reason.UNSUPPORTED),
        ("models/model.json", lambda _: None, Reason.UNSUPPORTED),
        ("models/model.json", lambda _: b'{"graph_module": []}', Reason.MALFORMED),
    ],
)
def test_broken_exports_are_refused(exported, ending, change, reason):
    with pytest.raises(Refused) as caught:
        layers(changed(exported[1], ending, change))
    assert caught.value.reason is reason


def test_an_export_before_torch_2_8_is_named():
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    assert TorchFormat().accepts(stream.getvalue()[:4096], "x.pt2")
    with pytest.raises(Refused, match=r"before torch 2\.8"):
        layers(stream.getvalue())


def test_a_checkpoint_that_was_zipped_again_with_compression():
    stream, again = BytesIO(), BytesIO()
    torch.save({"x.weight": WEIGHT, "y.weight": WEIGHT[:4, :2]}, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    first, second = layers(again.getvalue())
    assert np.array_equal(first.weights, WEIGHT.numpy())
    assert np.array_equal(second.weights, WEIGHT[:4, :2].numpy())


def test_of_several_saves_in_one_file_the_first_is_read_as_torch_does():
    stream = BytesIO()
    for value in ({"x.weight": WEIGHT}, {"epoch": 3}):
        torch.save(value, stream, _use_new_zipfile_serialization=False)
    (only,) = layers(stream.getvalue())
    assert np.array_equal(only.weights, WEIGHT.numpy())
    with pytest.raises(Refused, match="behind the last storage"):
        layers(_with_garbage())


def _with_garbage() -> bytes:
    stream = BytesIO()
    torch.save({"x.weight": WEIGHT}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue() + b"garbage"


def test_a_tensor_by_itself_is_refused():
    stream = BytesIO()
    torch.save(WEIGHT, stream)
    with pytest.raises(Refused, match="by itself"):
        layers(stream.getvalue())
