"""Numbers of weights that are made of parts: equal to what torch makes of the same parts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from tests.memory_file import MemoryFile
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from filterzoo.layers.normalise import normalise
from filterzoo.layers.selection import select
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Span, Tensor

WAYS = {
    "weight_norm": weight_norm,
    "weight_norm of all": lambda module: weight_norm(module, dim=None),
    "parametrised weight_norm": parametrizations.weight_norm,
    "spectral_norm": spectral_norm,
    "parametrised spectral_norm": parametrizations.spectral_norm,
    "pruned": lambda module: prune.l1_unstructured(module, "weight", 0.4),
}
MODULES = {
    "2-D": lambda: nn.Conv2d(3, 8, 3),
    "1-D": lambda: nn.Conv1d(3, 8, 3),
    "3-D": lambda: nn.Conv3d(3, 8, 3),
    "transposed": lambda: nn.ConvTranspose2d(6, 8, 2),
}


def file_of(state: dict[str, torch.Tensor]) -> tuple[bytes, list[Tensor]]:
    data, tensors = b"", []
    for name, value in state.items():
        raw = value.detach().contiguous().numpy().tobytes()
        tensors.append(Tensor(name=name, dtype="F32", shape=tuple(value.shape), span=Span(len(data), len(raw))))
        data += raw
    return data, tensors


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MODULES)
def test_the_weight_is_what_torch_computes(way, kind):
    torch.manual_seed(1)
    module = MODULES[kind]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        WAYS[way](module)
        module.eval()(torch.randn(1, module.in_channels, *[9] * len(module.kernel_size)))
    data, tensors = file_of({f"zq.{name}": value for name, value in module.state_dict().items()})
    with TensorReader(MemoryFile(data)) as reader:
        (layer,) = normalise(select(tensors), reader)
    expected = module.weight.detach().numpy()
    expected = expected.swapaxes(0, 1) if kind == "transposed" else expected
    np.testing.assert_allclose(layer.weights, expected, rtol=2e-6, atol=1e-7)
    assert layer.computed is not None


@pytest.mark.parametrize(("shape", "spread"), [((), (1, 1, 1, 1)), ((8,), (8, 1, 1, 1)), ((4, 1, 1, 1), None)])
def test_scales_are_multiplied(shape, spread):
    random = np.random.default_rng(2)
    q = random.integers(-127, 128, size=(8, 3, 3, 3)).astype("i1")
    scale = np.asarray(random.random(shape), "<f4")
    weight = Tensor(name="zq.weight", dtype="I8", shape=q.shape, span=Span(0, q.nbytes))
    beside = Tensor(name="zq.weight_scale", dtype="F32", shape=shape, span=Span(q.nbytes, scale.nbytes))
    with TensorReader(MemoryFile(q.tobytes() + scale.tobytes())) as reader:
        (layer,) = normalise(select([weight, beside]), reader)
    factor = scale.reshape(spread) if spread else scale.repeat(2, axis=0)
    assert np.array_equal(layer.weights, q.astype("f4") * factor)
