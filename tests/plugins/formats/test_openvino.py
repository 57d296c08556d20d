from __future__ import annotations

import numpy as np
import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats.openvino_files import WEIGHT, Network, hostile, one_conv
from tests.servers import WebServer

import filterzoo
from filterzoo.errors import Refused
from filterzoo.jail.validation import validate
from filterzoo.layers.normalise import canonical, read
from filterzoo.layers.stored import TensorReader
from filterzoo.records import FileFacts, Index, Kind, LeftOut, Tensor
from filterzoo_plugins.formats.openvino import OpenVino, filterzoo_formats
from filterzoo_plugins.formats.openvino import document as openvino_document

DICE = np.random.default_rng(1)


def index(xml: bytes, weights: bytes, name: str = "net.xml") -> list[Tensor | LeftOut]:
    reader = OpenVino()
    assert reader.accepts(xml[:4096], name)
    return list(reader.index(MemoryFile(xml, {"net.bin": weights})))


def layers(network: Network) -> list[tuple[Tensor, np.ndarray]]:
    xml, weights = network.xml(), bytes(network.bin)
    found = [each for each in index(xml, weights) if isinstance(each, Tensor) and each.convolution]
    validate(Index("openvino", FileFacts(), len(found), tuple(found)), len(xml))
    with TensorReader(MemoryFile(xml, {"net.bin": weights})) as reader:
        return [(tensor, canonical(read(tensor, reader), tensor)) for tensor in found]


def weight_through(array: np.ndarray, *steps, type_: str = "Convolution", rank: int = 2) -> tuple[Tensor, np.ndarray]:
    """The layer whose weight is a constant that the steps, each of which adds an operation, make something of."""
    network = Network()
    data = network.add("Parameter", shape="1,3,8,8", element_type="f32")
    weight = network.const(array, "w")
    for step in steps:
        weight = step(network, weight)
    network.conv(data, weight, type_, rank)
    ((tensor, weights),) = layers(network)
    return tensor, weights


def convert(element: str):
    return lambda network, weight: network.add("Convert", weight, destination_type=element)


def binary(type_: str, array: np.ndarray):
    return lambda network, weight: network.add(type_, weight, network.const(array), auto_broadcast="numpy")


def listed(type_: str, numbers: list[int], **data):
    return lambda network, weight: network.add(type_, weight, network.const(np.array(numbers, "i8")), **data)


def test_a_convolution_is_what_it_reads():
    ((tensor, weights),) = layers(one_conv(strides="2,1", dilations="1,3", pads_begin="1,0", pads_end="2,0"))
    assert np.array_equal(weights, WEIGHT)
    assert tensor.name == "conv.weight"
    assert tensor.convolution
    assert (tensor.convolution.kind, tensor.convolution.groups) == (Kind.CONV, 1)
    assert (tensor.convolution.stride, tensor.convolution.dilation) == ((2, 1), (1, 3))
    assert (tensor.convolution.padding, tensor.convolution.depth) == ((1, 0, 2, 0), 1)


@pytest.mark.parametrize(("automatic", "padding"), [("same_upper", None), ("valid", (0, 0, 0, 0))])
def test_padding_that_the_operation_chooses(automatic, padding):
    ((tensor, _),) = layers(one_conv(auto_pad=automatic))
    assert tensor.convolution
    assert tensor.convolution.padding == padding


def test_groups_are_an_axis_of_the_weight():
    stored = DICE.normal(size=(2, 3, 4, 3, 5)).astype("f4")
    tensor, weights = weight_through(stored, type_="GroupConvolution")
    assert np.array_equal(weights, stored.reshape(6, 4, 3, 5))
    assert tensor.convolution
    assert (tensor.convolution.kind, tensor.convolution.groups) == (Kind.GROUPED, 2)


def test_one_channel_a_group_is_depthwise_and_one_group_is_none():
    deep, _ = weight_through(np.ones((6, 1, 1, 3, 3), "f4"), type_="GroupConvolution")
    single, _ = weight_through(np.ones((1, 6, 1, 3, 3), "f4"), type_="GroupConvolution")
    assert deep.convolution
    assert single.convolution
    assert (deep.convolution.kind, single.convolution.kind) == (Kind.DEPTHWISE, Kind.CONV)


def test_transposed_ones_are_in_out():
    stored = DICE.normal(size=(4, 6, 3, 3)).astype("f4")
    tensor, weights = weight_through(stored, type_="ConvolutionBackpropData")
    assert np.array_equal(weights, stored.swapaxes(0, 1))
    assert tensor.convolution
    assert tensor.convolution.kind is Kind.TRANSPOSED


def test_transposed_groups_are_in_out_inside_each():
    stored = DICE.normal(size=(2, 3, 5, 3, 3)).astype("f4")
    _, weights = weight_through(stored, type_="GroupConvolutionBackpropData")
    assert np.array_equal(weights, np.concatenate([group.swapaxes(0, 1) for group in stored]))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_kernels_of_one_to_three_axes(rank):
    stored = DICE.normal(size=(4, 3, *(3,) * rank)).astype("f4")
    _, weights = weight_through(stored, rank=rank)
    assert np.array_equal(weights, stored)


def test_float16_is_decompressed():
    half = WEIGHT.astype("f2")
    tensor, weights = weight_through(half, convert("f32"))
    assert np.array_equal(weights, half.astype("f4"))
    assert tensor.dtype == "F16"


def test_integers_are_decompressed():
    whole = DICE.integers(-128, 128, (4, 3, 3, 3)).astype("i1")
    scale, zero = DICE.random((4, 1, 1, 1)).astype("f4"), DICE.integers(-9, 9, (4, 1, 1, 1)).astype("f4")
    _, weights = weight_through(whole, convert("f32"), binary("Subtract", zero), binary("Multiply", scale))
    assert np.array_equal(weights, (whole.astype("f4") - zero) * scale)


def test_arithmetic_in_float16_is_rounded():
    whole = DICE.integers(0, 256, (4, 3, 3, 3)).astype("u1")
    scale = DICE.random((4, 1, 1, 1)).astype("f2")
    _, weights = weight_through(
        whole, convert("f16"), binary("Subtract", np.array(127, "f2")), binary("Multiply", scale), convert("f32")
    )
    expected = (whole.astype("f2") - np.float16(127)) * scale
    assert expected.dtype == np.float16
    assert np.array_equal(weights, expected.astype("f4"))


def test_four_bits_lie_lowest_first():
    network = Network()
    data = network.add("Parameter", shape="1,1,8,8", element_type="f32")
    packed = np.array([0x21, 0xF8, 0x0E], "u1")
    whole = network.const(packed, "w", element_type="i4", shape="1,1,1,5", size=3)
    network.conv(data, network.add("Convert", whole, destination_type="f32"))
    ((_, weights),) = layers(network)
    assert weights.ravel().tolist() == [1, 2, -8, -1, -2]


@pytest.mark.parametrize(
    ("shape", "steps", "made"),
    [
        ((4, 27), [listed("Reshape", [0, 3, 3, -1], special_zero="true")], lambda w: w.reshape(4, 3, 3, 3)),
        ((3, 3, 3, 4), [listed("Transpose", [3, 2, 0, 1])], lambda w: w.transpose(3, 2, 0, 1)),
        ((4, 3, 3), [listed("Unsqueeze", [-1])], lambda w: w[..., None]),
        ((1, 4, 3, 3, 1), [listed("Squeeze", [0])], lambda w: w[0]),
        (
            (3, 3, 3, 4),
            [listed("Transpose", [3, 2, 0, 1]), listed("Reshape", [4, 9, 3, 1], special_zero="false")],
            lambda w: w.transpose(3, 2, 0, 1).reshape(4, 9, 3, 1),
        ),
    ],
)
def test_weights_in_other_shapes(shape, steps, made):
    stored = DICE.normal(size=shape).astype("f4")
    _, weights = weight_through(stored, *steps)
    assert np.array_equal(weights, made(stored))


def test_layers_in_any_order_have_the_depth_of_the_longest_path():
    network = Network()
    data = network.add("Parameter", shape="1,3,8,8", element_type="f32")
    first = network.conv(data, network.const(WEIGHT, "first"), pads_begin="1,1", pads_end="1,1")
    branch = network.add("ReLU", first)
    last = network.conv(network.add("Add", first, branch), network.const(np.ones((2, 4, 3, 3), "f4"), "last"))
    assert last
    network.layers.reverse()
    assert [(tensor.name, tensor.convolution and tensor.convolution.depth) for tensor, _ in layers(network)] == [
        ("first", 1),
        ("last", 4),
    ]


def test_a_weight_that_depends_on_an_input_is_no_layer():
    network = one_conv()
    made = network.add("Parameter", shape="4,4,3,3", element_type="f32")
    network.conv(2, made)
    assert [tensor.name for tensor, _ in layers(network)] == ["conv.weight"]


def test_constants_that_no_convolution_reads_are_counted_only():
    network = one_conv()
    network.add("MatMul", 2, network.const(np.ones((6, 5), "f4"), "dense"))
    found = index(network.xml(), bytes(network.bin))
    assert [(each.name, bool(isinstance(each, Tensor) and each.convolution)) for each in found] == [
        ("conv.weight", True),
        ("dense", False),
    ]


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda n: n.conv(2, n.add("FakeQuantize", n.const(WEIGHT, "bad"), levels=255)), "FakeQuantize"),
        (lambda n: n.conv(2, n.const(WEIGHT.astype("i1"), "bad")), "without a scale"),
        (lambda n: n.conv(2, n.const(WEIGHT, "bad", element_type="nf4")), "of type nf4"),
        (lambda n: n.add("BinaryConvolution", 2, n.const(WEIGHT, "bad")), "BinaryConvolution"),
        (lambda n: n.conv(2, n.const(WEIGHT[0, 0], "bad")), "of shape"),
        (lambda n: n.add("Loop", 2, body='<body><layers><layer id="0" type="Convolution"/></layers></body>'), "body"),
    ],
)
def test_only_a_convolution_that_cannot_be_read_is_left_out(spoil, why):
    network = one_conv()
    spoil(network)
    found = index(network.xml(), bytes(network.bin))
    assert [each.name for each in found if isinstance(each, Tensor) and each.convolution] == ["conv.weight"]
    (left_out,) = [each for each in found if isinstance(each, LeftOut)]
    assert why in left_out.detail


@pytest.mark.parametrize("case", list(hostile()), ids=lambda case: case[0])
def test_hostile_files_are_refused(case):
    _, xml, weights, reason, why = case
    with pytest.raises(Refused, match=why) as refused:
        index(xml, weights)
    assert refused.value.reason == reason


@pytest.mark.parametrize("name", ["", "net", "net.bin", "/"])
def test_without_its_name_the_weights_are_not_guessed(name):
    with pytest.raises(Refused, match=r"must end with \.xml") as refused:
        index(one_conv().xml(), b"", name)
    assert refused.value.reason == "unsupported"


def test_the_weights_are_beside_the_file_whatever_it_is_called():
    network = one_conv()
    assert index(network.xml(), bytes(network.bin), "../../net.xml")
    with pytest.raises(Refused, match="no such side file"):
        index(network.xml(), bytes(network.bin), "other.xml")


def test_the_number_of_layers_is_bounded(monkeypatch):
    monkeypatch.setattr(openvino_document, "MAX_LAYERS", 2)
    network = one_conv()
    with pytest.raises(Refused, match="more than 2 layers"):
        index(network.xml(), bytes(network.bin))


def test_other_xml_is_declined():
    (reader,) = filterzoo_formats()
    for other in (b"<html><body>net version=</body></html>", b'<?xml version="1.0"?><opencv_storage>', b'{"<net": 1}'):
        assert not reader.accepts(other, "net.xml")


def test_a_link_is_not_followed_to_the_weights(tmp_path):
    network = one_conv()
    (tmp_path / "net.xml").write_bytes(network.xml())
    (tmp_path / "elsewhere").write_bytes(bytes(network.bin))
    (tmp_path / "net.bin").symlink_to("elsewhere")
    with pytest.raises(Refused) as refused:
        filterzoo.open(tmp_path / "net.xml")
    assert refused.value.reason == "unsafe"


def test_a_network_on_a_server_is_read_with_the_weights_beside_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FILTERZOO_CACHE", str(tmp_path))
    network = one_conv()
    with WebServer() as server, filterzoo.Reader(allow_private=True) as reader:
        server.add("/a/net.bin", bytes(network.bin))
        with reader.open(server.add("/a/net.xml", network.xml())) as file:
            assert np.array_equal(file.layers[0].weights, WEIGHT)


def test_weights_are_those_that_openvino_computes(tmp_path):
    """OpenVINO writes the file, and evaluates what each convolution of it reads with its reference operations."""
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed (extra test)")
    path = tmp_path / "net.xml"
    openvino.save_model(_model(openvino), path, compress_to_fp16=False)
    expected = [
        _canonical(node.get_type_name(), _evaluated(openvino, node.input_value(1)))
        for node in openvino.Core().read_model(path).get_ordered_ops()
        if "Convolution" in node.get_type_name()
    ]
    with filterzoo.open(path) as file:
        assert len(file.layers) == len(expected) == 8
        for layer, weights in zip(file.layers, expected, strict=True):
            assert np.array_equal(layer.weights, weights), layer


def _model(openvino):
    """Every kind of convolution and of weight that is read."""
    from openvino import opset13 as ops

    def constant(shape, dtype="f4", low=-128, high=128):
        array = DICE.normal(size=shape) if dtype[0] == "f" else DICE.integers(low, high, shape)
        return ops.constant(array.astype(dtype))

    plain = [[1, 1], [1, 1], [1, 1], [1, 1]]
    entry = value = ops.parameter([1, 4, 8, 8], np.float32)
    value = ops.convolution(value, constant((4, 4, 3, 3)), *plain)
    shifted = ops.subtract(
        ops.convert(constant((4, 4, 3, 3), "i1"), "f32"), ops.convert(constant((4, 1, 1, 1), "i1"), "f32")
    )
    value = ops.convolution(value, ops.multiply(shifted, constant((4, 1, 1, 1))), *plain)
    halves = ops.subtract(ops.convert(constant((2, 2, 2, 3, 3), "u1", 0, 256), "f16"), ops.constant(np.float16(127)))
    scaled = ops.convert(ops.multiply(halves, constant((2, 2, 1, 1, 1), "f2")), "f32")
    value = ops.group_convolution(value, scaled, *plain)
    joined = ops.reshape(constant((4, 1, 3, 3)), ops.constant(np.array([4, 1, 1, 3, 3])), special_zero=False)
    value = ops.group_convolution(value, joined, *plain)
    turned = ops.transpose(constant((3, 3, 4, 4)), ops.constant(np.array([3, 2, 0, 1])))
    value = ops.convolution(value, turned, *plain)
    value = ops.convolution_backprop_data(value, constant((4, 6, 3, 3)), [2, 2])
    value = ops.group_convolution_backprop_data(value, constant((2, 3, 5, 3, 3)), [2, 2])
    bits = openvino.Tensor(DICE.integers(0, 256, 180).astype("u1"), openvino.Shape([4, 10, 3, 3]), openvino.Type.u4)
    few = ops.multiply(ops.convert(ops.constant(bits), "f32"), constant((4, 1, 1, 1)))
    return openvino.Model([ops.convolution(value, few, *plain)], [entry], "net")


def _evaluated(openvino, output):
    """What a node of constants gives, by the reference implementation of each operation."""
    node = output.get_node()
    if node.get_type_name() == "Constant":
        tensor = openvino.Tensor(node.get_element_type(), node.output(0).get_shape())
        tensor.data[...] = node.data.reshape(tensor.data.shape)
        return tensor
    result = openvino.Tensor(output.get_element_type(), output.get_shape())
    assert node.evaluate([result], [_evaluated(openvino, each) for each in node.input_values()])
    return result


def _canonical(kind, tensor):
    weights = tensor.data.astype("f4")
    if kind == "GroupConvolution":
        return weights.reshape(-1, *weights.shape[2:])
    if kind == "GroupConvolutionBackpropData":
        return np.concatenate([group.swapaxes(0, 1) for group in weights])
    return weights.swapaxes(0, 1) if kind == "ConvolutionBackpropData" else weights
