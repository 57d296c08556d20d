from __future__ import annotations

import sys
import time
from collections import Counter

import numpy as np
import pytest
from tests.index_packages import wheel, wheel_member
from tests.memory_file import MemoryFile
from tests.plugins.formats.tflite_files import (
    CALL,
    CAST,
    COMPOSITE,
    CONCATENATION,
    CONV,
    CONV_3D,
    CONV_3D_TRANSPOSE,
    CONV_OPTIONS,
    CUSTOM,
    DENSIFY,
    DEPTHWISE,
    DEQUANTIZE,
    GATHER,
    GOOD,
    IF,
    INT4,
    INTEGERS,
    MUL,
    RESHAPE,
    RSQRT,
    TRANSPOSE,
    TRANSPOSE_CONV,
    WEIGHT,
    WHILE,
    Graph,
    Op,
    Sparsity,
    T,
    hostile,
    metadata_bytes,
    mutated,
    one_conv,
    stored,
    tflite_bytes,
)

from filterzoo.computation import Way
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.jail.validation import validate
from filterzoo.layers.normalise import canonical, read
from filterzoo.layers.stored import TensorReader
from filterzoo.records import FileFacts, Index, Kind, Layout, Tensor
from filterzoo_plugins.encodings import flatbuffer
from filterzoo_plugins.formats.tflite import TFLite, filterzoo_formats
from filterzoo_plugins.formats.tflite import graph as tflite_graph
from filterzoo_plugins.formats.tflite import model as tflite_model

X, Y = T("x", (1, 8, 8, 2)), T("y", (1, 8, 8, 4))


def index(data: bytes) -> list[Tensor]:
    assert TFLite().accepts(data[:4096], "any name")
    return [one for one in TFLite().index(MemoryFile(data)) if isinstance(one, Tensor)]


def layers(data: bytes) -> list[Tensor]:
    return [tensor for tensor in index(data) if tensor.convolution]


def the_layer(data: bytes) -> tuple[Tensor, np.ndarray]:
    (tensor,) = layers(data)
    validate(Index("tflite", FileFacts(), 1, (tensor,)), len(data))
    with TensorReader(MemoryFile(data)) as reader:
        return tensor, canonical(read(tensor, reader), tensor)


def test_a_convolution_is_out_kernel_in():
    tensor, weights = the_layer(GOOD)
    assert np.array_equal(weights, WEIGHT.transpose(0, 3, 1, 2))
    found = tensor.convolution
    assert (tensor.layout, found.kind, found.groups, found.depth) == (Layout.O_K_I, Kind.CONV, 1, 1)
    assert (found.stride, found.dilation, found.padding) == ((1, 1), (1, 1), (0, 0, 0, 0))


def test_options_are_height_first():
    tensor, _ = the_layer(one_conv(stored("w", WEIGHT), options={0: 0, 1: 2, 2: 3, 4: 4, 5: 5}))
    assert (tensor.convolution.stride, tensor.convolution.dilation) == ((3, 2), (5, 4))
    assert tensor.convolution.padding is None


@pytest.mark.parametrize("multiplier", [2, 0])
def test_a_depthwise_weight_becomes_one_filter_for_each_output(multiplier):
    numbers = np.arange(36, dtype="f4").reshape(1, 3, 3, 4)
    tensor, weights = the_layer(
        one_conv(stored("w", numbers), DEPTHWISE, {0: 1, 1: 1, 2: 2, 3: multiplier, 5: 4, 6: 3})
    )
    assert np.array_equal(weights, numbers[0].transpose(2, 0, 1)[:, None])
    found = tensor.convolution
    assert (found.kind, found.groups, found.stride, found.dilation) == (Kind.DEPTHWISE, 2, (2, 1), (3, 4))


def test_a_depthwise_weight_on_one_channel_is_an_ordinary_one():
    numbers = np.ones((1, 3, 3, 4), "f4")
    graph = Graph([T("x", (1, 8, 8, 1)), stored("w", numbers), Y], [Op(DEPTHWISE, (0, 1), (2,), {1: 1, 2: 1})])
    assert the_layer(tflite_bytes(graph))[0].convolution.kind is Kind.CONV


def test_a_transposed_convolution_is_out_kernel_in_too():
    shape = stored("shape", np.array([1, 16, 16, 4], "i4"))
    graph = Graph([X, stored("w", WEIGHT), shape, Y], [Op(TRANSPOSE_CONV, (2, 1, 0), (3,), {0: 1, 1: 2, 2: 3})])
    tensor, weights = the_layer(tflite_bytes(graph))
    assert np.array_equal(weights, WEIGHT.transpose(0, 3, 1, 2))
    found = tensor.convolution
    assert (found.kind, found.groups, found.stride, found.dilation) == (Kind.TRANSPOSED, 1, (3, 2), (1, 1))


def test_three_dimensional_convolutions():
    numbers = np.random.default_rng(1).normal(size=(2, 3, 4, 5, 6)).astype("f4")
    options = {0: 1, 1: 1, 2: 2, 3: 3, 5: 4, 6: 5, 7: 6}
    volume, out, shape = T("x", (1, 8, 8, 8, 5)), T("y", (1, 8, 8, 8, 6)), stored("shape", np.ones(5, "i4"))
    tensor, weights = the_layer(
        tflite_bytes(Graph([volume, stored("w", numbers), out], [Op(CONV_3D, (0, 1), (2,), options)]))
    )
    assert np.array_equal(weights, numbers.transpose(4, 3, 0, 1, 2))
    assert (tensor.convolution.stride, tensor.convolution.dilation) == ((1, 3, 2), (4, 6, 5))
    transposed = Op(CONV_3D_TRANSPOSE, (2, 1, 0), (3,), options)
    tensor, weights = the_layer(tflite_bytes(Graph([volume, stored("w", numbers), shape, out], [transposed])))
    assert np.array_equal(weights, numbers.transpose(3, 4, 0, 1, 2))
    assert tensor.convolution.kind is Kind.TRANSPOSED


def test_grouped_convolutions_are_recognised_by_the_input():
    def kind(channels: int, weight: np.ndarray) -> tuple[Kind, int | None]:
        graph = Graph([T("x", (1, 8, 8, channels)), stored("w", weight), Y], [Op(CONV, (0, 1), (2,), CONV_OPTIONS)])
        found = the_layer(tflite_bytes(graph))[0].convolution
        return found.kind, found.groups

    assert kind(4, WEIGHT) == (Kind.GROUPED, 2)
    assert kind(4, WEIGHT[..., :1].copy()) == (Kind.DEPTHWISE, 4)
    assert kind(-1, WEIGHT) == (Kind.CONV, None)


@pytest.mark.parametrize(
    ("scales", "zeros", "axis"),
    [([0.5], [], 0), ([0.1], [-7], 0), ([0.1, 0.2, 0.3, 0.4], [], 0), ([0.1, 0.2], [3, -4], 3), ([0.1, 0.2], [5], 3)],
)
@pytest.mark.parametrize("numbers", [INTEGERS, INTEGERS.view("u1"), INTEGERS.astype("i2") * 100])
def test_integers_are_dequantised(numbers, scales, zeros, axis):
    _, weights = the_layer(one_conv(stored("w", numbers, scales=scales, zeros=zeros, axis=axis)))
    spread = [1, 1, 1, 1]
    spread[axis] = len(scales)
    points = np.array(zeros or [0], "f4") + np.zeros(len(scales), "f4")
    expected = (numbers.astype("f4") - points.reshape(spread)) * np.array(scales, "f4").reshape(spread)
    assert np.array_equal(weights, expected.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("weight", [stored("h", WEIGHT.astype("f2")), stored("h", INTEGERS, scales=[0.1])])
def test_a_weight_is_followed_through_dequantize(weight):
    tensors = [X, weight, T("w", WEIGHT.shape), Y]
    operators = [Op(DEQUANTIZE, (1,), (2,), {}), Op(CONV, (0, 2), (3,), CONV_OPTIONS)]
    tensor, weights = the_layer(tflite_bytes(Graph(tensors, operators)))
    numbers = WEIGHT.astype("f2").astype("f4") if weight.type == 1 else INTEGERS.astype("f4") * np.float32(0.1)
    assert tensor.name == "h"
    assert np.array_equal(weights, numbers.transpose(0, 3, 1, 2))


def computed_weight(tensors: list[T], code: int, inputs: tuple[int, ...], options=None, shape=WEIGHT.shape):
    """A convolution of what the operator makes of these tensors, which have the places from 1 on."""
    made, y = 1 + len(tensors), 2 + len(tensors)
    graph = [X, *tensors, T("made", shape), Y]
    operators = [Op(code, inputs, (made,), options or {}), Op(CONV, (0, made), (y,), CONV_OPTIONS)]
    return the_layer(tflite_bytes(Graph(graph, operators)))


HALF = (np.abs(WEIGHT[:, :1, :1, :1]) + np.float32(0.5)).astype("f4")


@pytest.mark.parametrize(
    ("tensors", "code", "options", "expected"),
    [
        (
            [stored("a", WEIGHT.transpose(1, 2, 3, 0).copy()), stored("p", np.array([3, 0, 1, 2], "i4"))],
            TRANSPOSE,
            {},
            WEIGHT,
        ),
        ([stored("a", WEIGHT.reshape(4, 30)), stored("s", np.array([4, 3, 5, 2], "i4"))], RESHAPE, {}, WEIGHT),
        ([stored("a", WEIGHT), stored("g", HALF)], MUL, {}, WEIGHT * HALF),
        ([stored("a", WEIGHT), stored("g", HALF)], 42, {}, WEIGHT / HALF),
        ([stored("a", WEIGHT[:1]), stored("b", WEIGHT[1:])], CONCATENATION, {0: 0}, WEIGHT),
        ([stored("a", WEIGHT.astype("f2"))], CAST, {}, WEIGHT.astype("f2").astype("f4")),
        ([stored("a", np.abs(WEIGHT) + 1)], RSQRT, {}, 1 / np.sqrt(np.abs(WEIGHT) + 1)),
        ([stored("a", WEIGHT), stored("i", np.array([3, 1, 1, 0], "i4"))], GATHER, {}, WEIGHT[[3, 1, 1, 0]]),
        (
            [
                stored("q", INTEGERS.transpose(3, 0, 1, 2).copy(), scales=[0.1, 0.3]),
                stored("p", np.array([1, 2, 3, 0], "i4")),
            ],
            TRANSPOSE,
            {},
            INTEGERS.astype("f4") * np.array([0.1, 0.3], "f4"),  # type: ignore[operator]  # of a parsed or untyped object
        ),
    ],
    ids=["TRANSPOSE", "RESHAPE", "MUL", "DIV", "CONCATENATION", "CAST", "RSQRT", "GATHER", "scales and TRANSPOSE"],
)
def test_a_weight_is_computed_from_constants(tensors, code, options, expected):
    tensor, weights = computed_weight(tensors, code, tuple(range(1, 1 + len(tensors))), options)
    np.testing.assert_array_equal(weights, expected.transpose(0, 3, 1, 2))
    assert tensor.name == (tensors[0].name if code != CONCATENATION else "b")
    assert (tensor.computation.way if tensor.computation else code) in {Way.FOLDED, CAST}


@pytest.mark.parametrize("densify", [True, False])
def test_a_sparse_weight_is_dense(densify):
    dense = WEIGHT * (np.random.default_rng(3).random(WEIGHT.shape) < 0.4)
    rows = dense.reshape(-1, 2)
    segments = [0, *np.cumsum((rows != 0).sum(1)).tolist()]
    indices = [int(column) for row in rows for column in np.flatnonzero(row)]
    sparsity = Sparsity((0, 1, 2, 3), (4, 3, 5, (segments, indices)))
    weight = T("w", WEIGHT.shape, rows[rows != 0].tobytes(), sparsity=sparsity)
    if densify:
        tensor, weights = computed_weight([weight], DENSIFY, (1,))
    else:
        tensor, weights = the_layer(one_conv(weight))
    np.testing.assert_array_equal(weights, dense.transpose(0, 3, 1, 2))
    assert tensor.computation.way is Way.PACKED


def test_a_weight_of_four_bits():
    numbers = np.random.default_rng(4).integers(-8, 8, WEIGHT.shape).astype("i1")
    nibbles = numbers.reshape(-1, 2).astype("u1") & 15
    scales = [0.1, 0.2, 0.3, 0.4]
    packed = (nibbles[:, 0] | nibbles[:, 1] << 4).tobytes()
    _, weights = the_layer(one_conv(T("w", WEIGHT.shape, packed, INT4, scales)))
    expected = numbers.astype("f4") * np.array(scales, "f4").reshape(4, 1, 1, 1)
    np.testing.assert_array_equal(weights, expected.transpose(0, 3, 1, 2))


def test_every_stored_tensor_is_listed_with_its_numbers():
    numbers = np.random.default_rng(4).integers(-8, 8, 7).astype("i1")
    nibbles = np.append(numbers, 0).astype("u1").reshape(-1, 2) & 15
    four = T("four", (7,), (nibbles[:, 0] | nibbles[:, 1] << 4).tobytes(), INT4)
    data = tflite_bytes(Graph([X, stored("w", WEIGHT), four, Y], [Op(CONV, (0, 1), (3,), CONV_OPTIONS)]))
    listed = {tensor.name: tensor for tensor in TFLite().tensors(MemoryFile(data))}
    with TensorReader(MemoryFile(data)) as reader:
        assert np.array_equal(read(listed["four"], reader), numbers)
        assert np.array_equal(read(listed["w"], reader), WEIGHT)


def test_depth_is_the_longest_path_and_order_that_of_the_operators():
    tensors = [X, *(stored(f"w{n}", WEIGHT[:2] * n) for n in range(1, 4)), *(T(f"t{n}", X.shape) for n in range(4, 9))]
    operators = [
        Op(CONV, (0, 1), (4,), CONV_OPTIONS),
        Op(MUL, (4, 4), (5,), {}),
        Op(CONV, (5, 2), (6,), CONV_OPTIONS),
        Op(CONV, (0, 3), (7,), CONV_OPTIONS),
        Op(MUL, (6, 7), (8,), {}),
    ]
    found = layers(tflite_bytes(Graph(tensors, operators)))
    assert [(t.name, t.convolution.depth) for t in found] == [("w1", 1), ("w2", 3), ("w3", 1)]


def body(name: str, scale: float = 1.0) -> Graph:
    tensors = [X, stored(name, (WEIGHT[:2] * scale).astype("f4")), X]
    return Graph(tensors, [Op(CONV, (0, 1), (2,), CONV_OPTIONS)], (0,), (2,))


def test_bodies_stand_in_the_place_of_their_node():
    condition = T("c", (1,))
    tensors = [X, condition, *(T(f"t{n}", X.shape) for n in range(2, 6)), stored("last", WEIGHT)]
    operators = [
        Op(IF, (1, 0), (2,), {0: 1, 1: 2}),
        Op(WHILE, (2,), (3,), {0: 3, 1: 4}),
        Op(CALL, (3,), (4,), {0: 5}),
        Op(COMPOSITE, (4,), (5,), {1: 6}),
        Op(CONV, (5, 6), (1,), CONV_OPTIONS),
    ]
    main = Graph(tensors, operators, (0, 1), (1,))
    names = ["then", "else", "goes on", "turn", "called", "composite"]
    found = layers(tflite_bytes(main, *(body(name, n) for n, name in enumerate(names))))
    assert [t.name for t in found] == [*names, "last"]
    depths = [t.convolution.depth for t in found]
    assert depths == sorted(depths)
    assert depths[0] == depths[1] == 1
    assert depths[-1] == 5


def test_a_weight_that_is_handed_to_a_body_is_read_there():
    called = Graph([X, T("handed", WEIGHT.shape), Y], [Op(CONV, (0, 1), (2,), CONV_OPTIONS)], (0, 1), (2,))
    keeps = Graph(called.tensors, called.operators, (0, 1), (2, 1))
    changes = Graph(called.tensors, called.operators, (0, 1), (2, 2))
    for code, bodies, count in ((CALL, {0: 1}, 1), (WHILE, {0: 1, 1: 2}, 2), (WHILE, {0: 1, 1: 3}, 0)):
        main = Graph([X, stored("w", WEIGHT), Y], [Op(code, (0, 1), (2, 2), bodies)], (0,), (2,))
        used = tflite_bytes(main, called, keeps, changes)
        names = [t.name for t in layers(used) if t.convolution]
        assert names.count("w") == count


def test_graphs_that_nothing_runs_are_entries_of_their_own():
    assert [t.name for t in layers(tflite_bytes(body("first"), body("second", 2)))] == ["first", "second"]


def test_what_no_convolution_reads_is_counted():
    tensors = [X, stored("w", WEIGHT), Y, stored("bias", np.ones(4, "f4")), T("odd", (3,), b"ab", 17)]
    found = index(tflite_bytes(Graph(tensors, [Op(CONV, (0, 1, 3), (2,), CONV_OPTIONS)])))
    assert [(t.name, t.dtype, t.shape) for t in found[1:]] == [("bias", "F32", (4,)), ("odd", "U8", (2,))]


def test_weights_made_at_run_time_are_no_layers():
    assert (
        layers(tflite_bytes(Graph([X, T("w", WEIGHT.shape), Y], [Op(CONV, (0, 1), (2,), CONV_OPTIONS)], (0, 1)))) == []
    )
    variable = T("w", WEIGHT.shape, variable=True)
    assert layers(tflite_bytes(Graph([X, variable, Y], [Op(CONV, (0, 1), (2,), CONV_OPTIONS)]))) == []
    assert layers(one_conv(stored("w", WEIGHT), CUSTOM, {}, custom="ConvertColours")) == []


def test_the_licence_in_the_metadata_is_a_fact():
    data = tflite_bytes(body("w"), metadata=metadata_bytes("Apache-2.0"))
    assert TFLite().facts(MemoryFile(data)) == FileFacts("tflite", "Apache-2.0")
    assert TFLite().facts(MemoryFile(GOOD)) == FileFacts("tflite", None)


def test_files_are_known_by_their_identifier():
    assert [entry.name for entry in filterzoo_formats()] == ["tflite"]
    for head in (b"", b"TFL3", bytes(4096), b"PK\x03\x04TFL", GOOD[:7], metadata_bytes("x")):
        assert not TFLite().accepts(head, "model.tflite")


COSTLY = "bodies that run the next one twice"
"""Ends after a hundred thousand operators."""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(data, reason, id=name, marks=[pytest.mark.slow] if name == COSTLY else [])
        for name, data, reason in hostile()
    ],
)
def test_a_hostile_file_is_refused_with_its_reason(data, reason):
    started = time.process_time()
    with pytest.raises(Refused) as refusal:
        index(data)
    assert refusal.value.reason is reason
    assert "\n" not in str(refusal.value)
    assert time.process_time() - started < 20


def test_nothing_but_a_refusal_comes_of_a_damaged_file():
    refused = accepted = 0
    files = [
        GOOD,
        one_conv(stored("w", INTEGERS, scales=[0.1] * 4)),
        tflite_bytes(body("a"), metadata=metadata_bytes("L")),
    ]
    for seed in range(4000):
        data = mutated(files[seed % len(files)], seed)
        try:
            found = tuple(t for t in TFLite().index(MemoryFile(data)) if isinstance(t, Tensor) and t.convolution)
            TFLite().facts(MemoryFile(data))
            validate(Index("tflite", FileFacts(), len(found), found), len(data))
            accepted += 1
        except Refused:
            refused += 1
    assert refused > 500
    assert accepted > 500


def test_limits(monkeypatch):
    limits = [(tflite_model, "MAX_SUBGRAPHS"), (tflite_model, "MAX_TENSORS"), (tflite_model, "MAX_OPERATORS")]
    limits += [(tflite_model, "MAX_ARGUMENTS"), (tflite_graph, "MAX_STEPS"), (flatbuffer, "MAX_STEPS")]
    limits += [(flatbuffer, "MAX_TEXT_BYTES"), (flatbuffer, "MAX_TEXT_TOTAL")]
    for module, limit in limits:
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 0)
            with pytest.raises(Refused) as refusal:
                index(GOOD)
        assert refusal.value.reason is Reason.LIMIT, limit


def test_payloads_are_not_read():
    weights = [stored(f"w{n}", np.full((256, 3, 3, 256), n, "f4")) for n in range(8)]
    operators = [Op(CONV, (0, n + 1), (9,), CONV_OPTIONS) for n in range(8)]
    file = MemoryFile(tflite_bytes(Graph([T("x", (1, 8, 8, 256)), *weights, T("y", (1, 8, 8, 256))], operators)))
    assert len(list(TFLite().index(file))) == 8
    assert file.size > 18_000_000
    assert sum(length for _, length in file.reads) < 100_000


WAKEWORD = ("pymicro-wakeword", "2.5.0", "pymicro_wakeword/models/")
FILES = [
    # package, version, member, convolutions, depthwise ones
    (*WAKEWORD[:2], WAKEWORD[2] + "alexa.tflite", 9, 4),
    (*WAKEWORD[:2], WAKEWORD[2] + "hey_jarvis.tflite", 9, 4),
    (*WAKEWORD[:2], WAKEWORD[2] + "hey_mycroft.tflite", 9, 4),
    (*WAKEWORD[:2], WAKEWORD[2] + "okay_nabu.tflite", 14, 8),
    ("basic-pitch", "0.4.0", "basic_pitch/saved_models/icassp_2022/nmp.tflite", 32, 0),
]


@pytest.mark.index
@pytest.mark.parametrize("network", FILES, ids=[member.rpartition("/")[2] for _, _, member, *_ in FILES])
def test_a_real_network(network, monkeypatch):
    """Every weight as the classes that flatc makes of TensorFlow's schema read it."""
    package, version, member, count, depthwise = network
    monkeypatch.setattr(sys, "path", [*sys.path, str(wheel("tflite", "2.18.0"))])
    path = wheel_member(package, version, member)
    with LocalFile(path) as file, TensorReader(file) as reader:
        tensors = [tensor for tensor in TFLite().index(file) if isinstance(tensor, Tensor) and tensor.convolution]
        found = [(tensor.name, canonical(reader.read(tensor), tensor)) for tensor in tensors]
    kinds = Counter(tensor.convolution.kind for tensor in tensors)
    assert (len(tensors), kinds[Kind.DEPTHWISE]) == (count, depthwise)
    for (name, weights), (its_name, its_weights) in zip(found, reference(path.read_bytes()), strict=True):
        assert name == its_name
        assert np.array_equal(weights, its_weights)


def reference(data: bytes) -> list[tuple[str, np.ndarray]]:
    import tflite

    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    found = []
    for place in range(graph.OperatorsLength()):
        operator = graph.Operators(place)
        code = model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
        if code not in {tflite.BuiltinOperator.CONV_2D, tflite.BuiltinOperator.DEPTHWISE_CONV_2D}:
            continue
        tensor = graph.Tensors(operator.Inputs(1))
        raw = model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
        quantisation, axis = tensor.Quantization(), 3 if code == tflite.BuiltinOperator.DEPTHWISE_CONV_2D else 0
        if tensor.Type() == tflite.TensorType.INT8:
            numbers = np.frombuffer(raw, "i1").reshape(tensor.ShapeAsNumpy()).astype("f4")
            spread = [-1 if a == axis else 1 for a in range(4)]
            assert quantisation.QuantizedDimension() == axis
            assert not quantisation.ZeroPointAsNumpy().any()
            numbers = numbers * quantisation.ScaleAsNumpy().astype("f4").reshape(spread)
        else:
            numbers = np.frombuffer(raw, "f4").reshape(tensor.ShapeAsNumpy())
        order = (3, 0, 1, 2) if axis else (0, 3, 1, 2)
        found.append((tensor.Name().decode(), numbers.transpose(order)))
    return found
