"""Layouts, casts and scales against explicit loops and against the frameworks that define them."""

from __future__ import annotations

import hashlib
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.memory_file import MemoryFile

from filterzoo.errors import Reason, Refused
from filterzoo.layers.depth import depths
from filterzoo.layers.normalise import canonical, layer_id, normalise
from filterzoo.layers.shapes import canonical_shape
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Context, Convolution, Kind, Layout, Quantisation, Span, Tensor

RANDOM = np.random.default_rng(3)
KERNELS = [(3,), (3, 2), (3, 1, 2)]


def tensor(shape: tuple[int, ...], layout: Layout = Layout.OI_K, groups: int | None = 1, **fields: Any) -> Tensor:
    convolution = Convolution(kind=Kind.CONV, context=Context.DECLARED, groups=groups)
    plain: dict[str, Any] = {"name": "w", "dtype": "F32", "shape": shape, "span": Span(0, 0), "layout": layout}
    return Tensor(**(plain | {"convolution": convolution} | fields))


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def by_loops(stored: np.ndarray, layout: Layout, groups: int) -> np.ndarray:
    """docs/measures.md, 1, word by word."""
    spatial = {
        Layout.OI_K: slice(2, None),
        Layout.IO_K: slice(2, None),
        Layout.O_K_I: slice(1, -1),
        Layout.ONE_K_O: slice(1, -1),
    }
    kernel = stored.shape[spatial.get(layout, slice(0, -2))]
    first, last, second, before_last = stored.shape[0], stored.shape[-1], stored.shape[1], stored.shape[-2]
    outputs, inputs = {
        Layout.OI_K: (first, second),
        Layout.IO_K: (groups * second, first // groups),
        Layout.K_IO: (last, before_last),
        Layout.K_OI: (before_last, last),
        Layout.K_IM: (before_last * last, 1),
        Layout.O_K_I: (first, last),
        Layout.ONE_K_O: (last, 1),
    }[layout]
    result = np.zeros((outputs, inputs, *kernel), np.float32)
    for o, i, k in product(range(outputs), range(inputs), product(*map(range, kernel))):
        result[o, i, *k] = {
            Layout.OI_K: lambda o, i, k: stored[o, i, *k],
            Layout.IO_K: lambda o, i, k: stored[(o // second) * inputs + i, o % second, *k],
            Layout.K_IO: lambda o, i, k: stored[*k, i, o],
            Layout.K_OI: lambda o, i, k: stored[*k, o, i],
            Layout.K_IM: lambda o, i, k: stored[*k, o // last, o % last],
            Layout.O_K_I: lambda o, i, k: stored[o, *k, i],
            Layout.ONE_K_O: lambda o, i, k: stored[0, *k, o],
        }[layout](o, i, k)
    return result


def stored_shape(layout: Layout, kernel: tuple[int, ...]) -> tuple[int, ...]:
    match layout:
        case Layout.OI_K | Layout.IO_K:
            return (6, 4, *kernel)
        case Layout.O_K_I:
            return (6, *kernel, 4)
        case Layout.ONE_K_O:
            return (1, *kernel, 6)
        case _:
            return (*kernel, 6, 4)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("layout", [layout for layout in Layout if layout not in {Layout.OPEN, Layout.OTHER}])
def test_every_layout_as_explicit_loops_have_it(layout, kernel):
    for groups in (1, 2, 3) if layout is Layout.IO_K else (1,):
        stored = numbers(*stored_shape(layout, kernel))
        described = tensor(stored.shape, layout, groups)
        result = canonical(stored, described)
        assert np.array_equal(result, by_loops(stored, layout, groups))
        assert result.shape == canonical_shape(described)
        assert result.dtype == np.float32
        assert result.flags.c_contiguous
        assert result.flags.aligned


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_transposed_convolution_is_the_adjoint_of_the_convolution_with_the_canonical_weight(groups):
    """<conv_transpose(x; stored), y> = <x, conv(y; canonical with channels swapped inside each group)>."""
    stored = torch.from_numpy(numbers(8, 3, 3, 3)).double()
    result = torch.from_numpy(canonical(stored.float().numpy(), tensor((8, 3, 3, 3), Layout.IO_K, groups))).double()
    x = torch.from_numpy(RANDOM.standard_normal((1, 8, 5, 5)))
    outputs = []
    for group, (part, weight) in enumerate(zip(x.chunk(groups, 1), result.chunk(groups, 0), strict=True)):
        assert weight.shape == (3, 8 // groups, 3, 3), group
        padded = torch.nn.functional.pad(part, (2, 2, 2, 2))
        outputs.append(torch.nn.functional.conv2d(padded, weight.flip(2, 3)))
    expected = torch.nn.functional.conv_transpose2d(x, stored, groups=groups)
    torch.testing.assert_close(torch.cat(outputs, 1), expected, atol=1e-6, rtol=0)


def test_float32_in_canonical_order_is_not_copied():
    stored = numbers(4, 2, 3, 3)
    assert np.shares_memory(canonical(stored, tensor(stored.shape)), stored)


def test_unaligned_and_strided_bytes_are_put_in_order():
    raw = np.frombuffer(b"?" + numbers(4, 2, 3, 3).tobytes(), np.uint8)[1:].view(np.float32).reshape(4, 2, 3, 3)
    for stored in (raw, raw[::2], raw.transpose(1, 0, 2, 3)):
        result = canonical(stored, tensor(stored.shape))
        assert result.flags.c_contiguous
        assert result.flags.aligned
        assert np.array_equal(result, stored)


@pytest.mark.parametrize(
    ("dtype", "theirs", "bits"),
    [
        ("F16", torch.float16, np.uint16),
        ("BF16", torch.bfloat16, np.uint16),
        ("F8_E4M3", torch.float8_e4m3fn, np.uint8),
        ("F8_E5M2", torch.float8_e5m2, np.uint8),
    ],
)
def test_every_value_of_small_floats_as_torch_casts_it(dtype, theirs, bits):
    codes = np.arange(np.iinfo(bits).max + 1, dtype=bits).reshape(-1, 1, 1)
    expected = torch.from_numpy(codes.copy()).view(theirs).float().numpy()
    stored = codes.view(np.float16) if dtype == "F16" else codes
    result = canonical(stored, tensor(codes.shape, dtype=dtype))
    assert np.array_equal(result, expected, equal_nan=True)
    assert np.array_equal(np.signbit(result[expected == 0]), np.signbit(expected[expected == 0]))


def test_doubles_as_torch_casts_them():
    values = [0.1, -0.0, 1e300, -1e300, 1e-300, 1e-40, np.pi, np.inf, -np.inf, np.nan, 2**-126 * 0.75]
    stored = np.array(values).reshape(-1, 1, 1)
    expected = torch.from_numpy(stored).float().numpy()
    assert np.array_equal(canonical(stored, tensor(stored.shape, dtype="F64")), expected, equal_nan=True)


TYPES = {"I8": np.int8, "U8": np.uint8, "I16": np.int16, "U16": np.uint16, "I32": np.int32}


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("axis", [None, 0, 1, 3])
def test_quantised_weights_as_onnx_defines_them(dtype, axis):
    shape = (4, 3, 2, 5)
    info = np.iinfo(TYPES[dtype])  # type: ignore[type-var]  # one of several dtypes
    stored = RANDOM.integers(info.min, info.max, shape, TYPES[dtype], endpoint=True)
    slices = 1 if axis is None else shape[axis]
    scales = RANDOM.uniform(1e-4, 1, slices).astype(np.float32)
    zeros = RANDOM.integers(max(info.min, -999), min(info.max, 999), slices, TYPES[dtype], endpoint=True)
    zeros = np.zeros_like(zeros) if dtype == "I32" else zeros  # as ONNX demands
    onnx_scale, onnx_zero = (scales[0], zeros[0]) if axis is None else (scales, zeros)
    expected = dequantised_by_onnx(stored, np.asarray(onnx_scale), np.asarray(onnx_zero), axis)
    quantisation = Quantisation(tuple(map(float, scales)), tuple(map(int, zeros)), axis)
    result = canonical(stored, tensor(shape, dtype=dtype, quantisation=quantisation))
    assert result.dtype == np.float32
    assert np.array_equal(result, expected)


def dequantised_by_onnx(stored, scale, zero, axis):
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    element = helper.np_dtype_to_tensor_dtype(stored.dtype)
    node = helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], **({} if axis is None else {"axis": axis}))
    inputs = [
        helper.make_tensor_value_info("q", element, stored.shape),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, scale.shape),
        helper.make_tensor_value_info("z", element, zero.shape),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, stored.shape)
    model = helper.make_model(
        helper.make_graph([node], "g", inputs, [output]), opset_imports=[helper.make_opsetid("", 21)]
    )
    return ReferenceEvaluator(model).run(None, {"q": stored, "s": scale, "z": zero})[0]  # type: ignore[index]  # run gives a list


def test_quantised_weights_along_a_stored_axis_of_another_layout():
    stored = RANDOM.integers(-128, 127, (1, 3, 3, 6), np.int8)
    scales = tuple(np.linspace(0.25, 1.5, 6).tolist())
    described = tensor(stored.shape, Layout.ONE_K_O, 6, dtype="I8", quantisation=Quantisation(scales, (0,) * 6, 3))
    expected = stored[0].transpose(2, 0, 1)[:, None] * np.array(scales, np.float32)[:, None, None, None]
    assert np.array_equal(canonical(stored, described), expected.astype(np.float32))


def test_quantised_floats_are_read_as_floats_first():
    codes = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1)
    values = torch.from_numpy(codes.copy()).view(torch.float8_e4m3fn).float().numpy()
    described = tensor(codes.shape, dtype="F8_E4M3", quantisation=Quantisation((0.5,), (0,)))
    assert np.array_equal(canonical(codes, described), values * np.float32(0.5), equal_nan=True)


@pytest.mark.parametrize("zero", [-(2**31) + 1, 2**31 - 1, 300])
@pytest.mark.parametrize("dtype", ["I8", "U32", "I64", "U64"])
def test_extreme_zero_points_do_not_wrap(dtype, zero):
    info = np.iinfo({"I8": np.int8, "U32": np.uint32, "I64": np.int64, "U64": np.uint64}[dtype])  # type: ignore[type-var]  # one of several dtypes
    stored = np.array([info.min, 0, 1, info.max], info.dtype).reshape(4, 1, 1)
    result = canonical(stored, tensor(stored.shape, dtype=dtype, quantisation=Quantisation((1.0,), (zero,))))
    expected = [np.float32(int(q) - zero) for q in stored.ravel()]
    np.testing.assert_allclose(result.ravel(), expected, rtol=2e-7)


@pytest.mark.parametrize("dtype", ["I8", "I64", "U8", "BOOL", "C64"])
def test_what_is_no_weight_without_a_scale(dtype):
    with pytest.raises(Refused) as raised:
        canonical(np.zeros((1, 1, 1), np.uint8), tensor((1, 1, 1), dtype=dtype))
    assert (raised.value.reason, raised.value.where) == (Reason.UNSUPPORTED, "w")


@pytest.mark.parametrize(
    ("shape", "layout", "groups"),
    [
        ((5, 2, 3), Layout.IO_K, 2),
        ((2, 3, 4), Layout.ONE_K_O, 1),
        ((2, 3, 4), Layout.OTHER, 1),
        ((2, 3, 4), Layout.OPEN, 1),
    ],
)
def test_shapes_that_contradict_themselves(shape, layout, groups):
    with pytest.raises(Refused) as raised:
        canonical(numbers(*shape), tensor(shape, layout, groups))
    assert raised.value.reason is Reason.MALFORMED


def test_unknown_groups_are_taken_as_one():
    stored = numbers(4, 3, 3)
    assert canonical(stored, tensor(stored.shape, Layout.IO_K, None)).shape == (3, 4, 3)


def test_layer_id_is_the_sha256_of_type_shape_and_bytes():
    weights = numbers(4, 2, 3, 3)
    assert layer_id(weights) == hashlib.sha256(b"float32 4x2x3x3\n" + weights.tobytes()).hexdigest()
    assert layer_id(weights) != layer_id(weights.reshape(2, 4, 3, 3))
    assert layer_id(weights) == layer_id(weights.copy())


def in_depth(*depth: int | None) -> list[Tensor]:
    return [
        tensor((1, 1, 1), convolution=Convolution(kind=Kind.CONV, context=Context.GRAPH, depth=each)) for each in depth
    ]


def test_depth_is_the_rank_of_distinct_depths():
    found = depths(in_depth(7, 3, 7, 100))
    assert found == [(1, 0.5, Context.GRAPH), (0, 0.0, Context.GRAPH), (1, 0.5, Context.GRAPH), (2, 1.0, Context.GRAPH)]
    assert depths(in_depth(5, 5)) == [(0, 0.0, Context.GRAPH)] * 2
    assert depths([]) == []


def test_depth_is_the_place_in_the_file_where_the_graph_is_not_known():
    found = depths(in_depth(7, None, 3))
    assert found == [(0, 0.0, Context.DECLARED), (1, 0.5, Context.DECLARED), (2, 1.0, Context.DECLARED)]
    assert depths(in_depth(None)) == [(0, 0.0, Context.DECLARED)]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12))
def test_depths_keep_order_and_span_zero_to_one(given_depths):
    found = depths(in_depth(*given_depths))
    ranks = [rank for rank, _, _ in found]
    assert sorted(set(ranks)) == list(range(len(set(given_depths))))
    for (depth, rank), (other_depth, other_rank) in product(zip(given_depths, ranks, strict=True), repeat=2):
        assert (depth < other_depth) == (rank < other_rank)
    assert max(norm for _, norm, _ in found) == (1.0 if len(set(ranks)) > 1 else 0.0)


def test_a_depth_that_every_layer_states_stands():
    ranks = [(3, 0.5), (1, 0.25), (6, 1.0)]
    listed = [
        tensor((1, 1, 3), convolution=Convolution(kind=Kind.CONV, context=Context.DECLARED, stated_depth=rank))
        for rank in ranks
    ]
    assert depths(listed) == [(*rank, Context.DECLARED) for rank in ranks]
    unranked = tensor((1, 1, 3))
    assert [rank for rank, _, _ in depths([*listed, unranked])] == [0, 1, 2, 3]


def test_layers_come_in_order_with_all_that_is_known():
    first, second = numbers(4, 2, 3, 3), numbers(2, 2, 3)
    convolution = Convolution(
        kind=Kind.GROUPED, context=Context.GRAPH, groups=2, stride=(1, 2), dilation=(1, 1), padding=(0, 1), depth=9
    )
    file = MemoryFile(first.tobytes() + second.tobytes())
    listed = [
        tensor(first.shape, span=Span(0, first.nbytes), convolution=convolution, name="a"),
        tensor(second.shape, span=Span(first.nbytes, second.nbytes), name="b", convolution=in_depth(2)[0].convolution),
    ]
    with TensorReader(file) as reader:
        one, two = normalise(listed, reader)
    assert np.array_equal(one.weights, first)
    assert (one.index, one.name, one.kind, one.groups) == (0, "a", Kind.GROUPED, 2)
    assert (one.stride, one.dilation, one.padding, one.dtype) == ((1, 2), (1, 1), (0, 1), "F32")
    assert (one.conv_depth, one.conv_depth_norm, one.context, one.layer_id) == (1, 1.0, Context.GRAPH, layer_id(first))
    assert (one.kernel, one.n_filters, two.kernel, two.n_filters) == ("3x3", 8, "3", 4)
    assert (two.index, two.conv_depth, two.stride) == (1, 0, None)
