"""Trained networks out of PyPI wheels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.index_packages import wheel_member

from filterzoo.files import LocalFile
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Context, Kind, Layout, Tensor
from filterzoo_plugins.formats.torch import TorchFormat

pytestmark = pytest.mark.index
FORMAT = TorchFormat()

FACENET = ("facenet-pytorch", "2.6.0", "facenet_pytorch/data/{}.pt")
DIGITS = ("digit-recognizer-py", "0.1.0", "digit_recognizer/models/handwriting_model.pth")
SILERO = ("silero-vad", "6.2.3", "silero_vad/data/silero_vad.jit")
DEEPBET = ("deepbet", "1.0.2", "data/models/{}.pt")


def weights(package: str, version: str, member: str) -> list[Tensor]:
    """The tensors of rank 3 to 5 named weight."""
    tensors = read(package, version, member)
    return [tensor for tensor in tensors if 3 <= len(tensor.shape) <= 5 and tensor.name.endswith("weight")]


def read(package: str, version: str, member: str) -> list[Tensor]:
    """All tensors; every one is read, its CRC checked where there is one."""
    with LocalFile(wheel_member(package, version, member)) as file, TensorReader(file) as reader:
        head = file.read(0, 4096)
        assert FORMAT.accepts(head, "weights")
        tensors = list(FORMAT.index(file))
        for tensor in tensors:
            values = reader.read(tensor)
            assert values.dtype.kind != "f" or np.isfinite(values).all()
    return tensors


def count_3x3(tensors: list[Tensor]) -> int:
    return sum(math.prod(tensor.shape[:2]) for tensor in tensors if tensor.shape[2:] == (3, 3))


@pytest.mark.parametrize(("net", "convolutions", "filters"), [("onet", 4, 6240), ("rnet", 3, 1428), ("pnet", 5, 702)])
def test_facenet_legacy(net, convolutions, filters):
    package, version, member = FACENET
    found = weights(package, version, member.format(net))
    assert (len(found), count_3x3(found)) == (convolutions, filters)


def test_facenet_equals_torch():
    import torch

    package, version, member = FACENET
    path = wheel_member(package, version, member.format("onet"))
    reference = torch.load(path, weights_only=True)
    with LocalFile(path) as file, TensorReader(file) as reader:
        tensors = list(FORMAT.index(file))
        assert [tensor.name for tensor in tensors] == list(reference)
        for tensor in tensors:
            assert np.array_equal(reader.read(tensor), reference[tensor.name].numpy())


def test_digit_recognizer_zip():
    found = weights(*DIGITS)
    assert (len(found), count_3x3(found)) == (3, 10272)


def test_silero_torchscript():
    """Two nets of six 1-D convolutions; the first of each convolves with a buffer that is not called a weight."""
    found = [tensor for tensor in read(*SILERO) if tensor.convolution is not None]
    assert len(found) == 12
    assert {len(tensor.shape) for tensor in found} == {3}
    assert {tensor.convolution.context for tensor in found} == {Context.GRAPH}
    bases = [tensor for tensor in found if tensor.name.endswith("forward_basis_buffer")]
    assert [tensor.convolution.stride for tensor in bases] == [(128,), (64,)]
    depths = [tensor.convolution.depth for tensor in found[:6]]
    assert depths == sorted(set(depths))
    assert [tensor.convolution.depth for tensor in found[6:]] == depths


@pytest.mark.parametrize("net", ["model", "bbox_model"])
def test_deepbet_torchscript(net):
    package, version, member = DEEPBET
    found = weights(package, version, member.format(net))
    assert len(found) == 35
    filters = 0
    for tensor in found:
        if tensor.shape[2:] == (3, 3, 3):
            filters += math.prod(tensor.shape[:2])
    assert filters == 77840
    assert {tensor.convolution.context for tensor in found} == {Context.GRAPH}
    transposed = [tensor for tensor in found if tensor.convolution.kind is Kind.TRANSPOSED]
    assert len(transposed) == 6
    assert {tensor.layout for tensor in transposed} == {Layout.IO_K}
    assert [tensor.name for tensor in transposed if "tp_conv" not in tensor.name] == []
    by_name = {tensor.name: tensor.convolution.depth for tensor in found}
    # The short cut of a residual block reads what the block's first convolution reads.
    assert by_name["down1.block1.downsample.0.weight"] == by_name["down1.block1.double_conv.0.weight"]
    assert by_name["init.0.weight"] == 1
