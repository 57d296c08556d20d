"""Numbers of weights that are made of parts: equal to what torch makes of the same parts."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from tests.memory_file import MemoryFile
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm

from filterzoo.layers.normalise import normalise
from filterzoo.layers.selection import select, selection
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Layout, Span, Tensor

WAYS = {
    "weight_norm": weight_norm,
    "weight_norm of all": lambda module: weight_norm(module, dim=None),
    "parametrised weight_norm": parametrizations.weight_norm,
    "spectral_norm": spectral_norm,
    "parametrised spectral_norm": parametrizations.spectral_norm,
    "pruned": lambda module: prune.l1_unstructured(module, "weight", 0.4),
    "pruned weight_norm": lambda module: prune.l1_unstructured(weight_norm(module), "weight_v", 0.4),
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


def stored(*parts: tuple[str, str, np.ndarray], layout: Layout = Layout.OI_K) -> tuple[MemoryFile, list[Tensor]]:
    data, tensors = b"", []
    for name, dtype, array in parts:
        span = Span(len(data), array.nbytes)
        tensors.append(Tensor(name=name, dtype=dtype, shape=array.shape, span=span, layout=layout))
        data += array.tobytes()
    return MemoryFile(data), tensors


def computed_layer(*parts: tuple[str, str, np.ndarray], layout: Layout = Layout.OI_K) -> tuple[str, np.ndarray]:
    file, tensors = stored(*parts, layout=layout)
    with TensorReader(file) as reader:
        (layer,) = normalise(select(tensors), reader)
    return layer.name, layer.weights


INTEGERS = np.random.default_rng(5).integers(-127, 128, size=(8, 4, 3, 3)).astype("i1")
SCALES = np.random.default_rng(6).random(8).astype("f4")


def test_the_largest_numbers_of_bitsandbytes_are_no_steps():
    name, weights = computed_layer(("zq.weight", "I8", INTEGERS), ("zq.SCB", "F32", SCALES))
    expected = INTEGERS * SCALES.reshape(8, 1, 1, 1) * np.float32(7.874015718698502e-3)
    assert name == "zq.weight"
    assert np.array_equal(weights, expected)


@pytest.mark.parametrize(("data", "scale"), [("_data", "_scale"), ("int_data", "scale"), ("qdata", "scale")])
def test_integers_of_a_weight_that_is_a_subclass(data, scale):
    parts = [("zq.weight." + data, "I8", INTEGERS), ("zq.weight." + scale, "F32", SCALES.reshape(8, 1, 1, 1))]
    name, weights = computed_layer(*parts, ("zq.input_scale", "F32", SCALES[:1]))
    assert name == "zq.weight"
    assert np.array_equal(weights, INTEGERS * SCALES.reshape(8, 1, 1, 1))


def test_scales_that_are_powers_of_two():
    codes = np.array([120, 127, 130, 125, 126, 128, 129, 121], "u1")
    _, weights = computed_layer(("zq.weight", "I8", INTEGERS), ("zq.weight_scale", "F8_E8M0", codes))
    assert np.array_equal(weights, INTEGERS * np.exp2(codes.astype("f4") - 127).reshape(8, 1, 1, 1))


def test_scales_belong_to_the_outputs_wherever_they_stand():
    kernel = np.ascontiguousarray(INTEGERS.transpose(2, 3, 1, 0))
    parts = [("zq/kernel", "I8", kernel), ("zq/kernel_scale", "F32", SCALES)]
    for layout in (Layout.K_IO, Layout.OPEN):
        _, weights = computed_layer(*parts, layout=layout)
        assert np.array_equal(weights, INTEGERS * SCALES.reshape(8, 1, 1, 1))


def left_out(*parts: tuple[str, str, tuple[int, ...]], **fields: Any) -> list[tuple[str, str]]:
    """(name, detail) of the convolutions that are left out of a file of these arrays and one stem."""
    stem = Tensor(name="stem.weight", dtype="F32", shape=(16, 3, 3, 3), span=Span(0, 0))
    arrays = [Tensor(name=name, dtype=dtype, shape=shape, span=Span(0, 0), **fields) for name, dtype, shape in parts]
    found = selection([stem, *arrays])
    assert [each.name for each in found.convolutions] == ["stem.weight"]
    return [(each.name, each.detail) for each in found.left_out]


def test_a_layer_whose_scales_fit_two_axes_is_left_out():
    ((name, why),) = left_out(("zq/w", "I8", (8, 3, 3, 8)), ("zq/w_scale", "F32", (8,)), layout=Layout.OPEN)
    assert name == "zq/w"
    assert "with scales of shape" in why


@pytest.mark.parametrize(("rows", "scales", "is_open"), [(8, 4, False), (24, 3, False), (20, 2, True), (20, 3, True)])
def test_a_layer_with_blocks_whose_length_is_open_is_left_out(rows, scales, is_open):
    """20 rows with 2 scales: 16 and 4, or 10 and 10."""
    weight = np.arange(rows * 9).astype("i1").reshape(rows, 1, 3, 3)
    steps = np.arange(1.0, scales + 1).astype("f4").reshape(scales, 1, 1, 1)
    parts = [("zq.weight", "I8", weight), ("zq.weight_scale_inv", "F32", steps)]
    if is_open:
        ((name, why),) = left_out(*[(called, dtype, array.shape) for called, dtype, array in parts])
        assert name == "zq.weight"
        assert "with scales of shape" in why
    else:
        assert np.array_equal(computed_layer(*parts)[1], weight * steps.repeat(rows // scales, 0))


LEFT_OUT: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {
    "exponents as integers": [("zq.weight", "F8_E4M3", (8, 4, 3, 3)), ("zq.weight_scale", "U8", (8,))],
    "a code book": [("zq.weight", "U8", (8, 4, 3, 3)), ("zq.weight.absmax", "F32", (8,))],
    "a range": [("zq.weight", "F8_E4M3", (8, 4, 3, 3)), ("zq.weight_quantizer._amax", "F32", ())],
    "two scales": [
        ("zq.weight", "U8", (8, 4, 3, 3)),
        ("zq.weight_scale", "F32", (8,)),
        ("zq.weight_scale_2", "F32", (8,)),
    ],
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_a_layer_whose_scale_nothing_explains_is_left_out_by_name(case):
    assert [name for name, _ in left_out(*LEFT_OUT[case])] == ["zq.weight"]


BLOCKS: dict[str, list[tuple[str, str, tuple[int, ...]]]] = {
    "zq.weight_blocks": [("zq.weight_blocks", "U8", (8, 4, 16)), ("zq.weight_scales", "U8", (8, 4))],
    "zq.blocks": [("zq.blocks", "U8", (2, 8, 4, 16)), ("zq.scales", "U8", (2, 8, 4))],
    "zq.weight_packed": [("zq.weight_packed", "I32", (8, 4, 3, 1)), ("zq.weight_scale", "BF16", (8, 1, 1, 1))],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_only_blocks_whose_weight_has_no_shape_are_left_out(name):
    ((left, why),) = left_out(*BLOCKS[name])
    assert left == name
    assert "4-bit numbers" in why


def test_the_scale_of_a_quantiser_inside_the_layer():
    """TensorRT's ModelOpt; the range of the layer's input is none of the weight's."""
    parts = [("zq.weight", "I8", INTEGERS), ("zq.weight_quantizer._scale", "F32", SCALES)]
    _, weights = computed_layer(*parts, ("zq.input_quantizer._amax", "F32", SCALES[:1]))
    assert np.array_equal(weights, INTEGERS * SCALES.reshape(8, 1, 1, 1))
