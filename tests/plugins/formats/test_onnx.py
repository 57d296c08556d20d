from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from tests.memory_file import MemoryFile
from tests.plugins.formats.onnx_files import (
    GOOD,
    WEIGHT,
    Weight,
    bfloat16,
    conv,
    external,
    model_of,
    one_conv,
    quantised,
    stored,
    typed,
    value,
    ways_to_store,
)

from filterzoo.computation import Way
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.layers.normalise import canonical, evidence_of
from filterzoo.layers.normalise import read as stored_numbers
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Convolution, Evidence, Kind, Layout, Span, Tensor
from filterzoo_plugins.formats.onnx import Onnx, filterzoo_formats


def index(data: bytes, folder: Path) -> list[Tensor]:
    path = folder / "model.onnx"
    path.write_bytes(data)
    with LocalFile(path) as file:
        assert Onnx().accepts(file.read(0, min(4096, file.size)), "any name")
        return [one for one in Onnx().index(file) if isinstance(one, Tensor)]


def layers(data: bytes, folder: Path) -> list[Tensor]:
    return [tensor for tensor in index(data, folder) if tensor.convolution]


def the_convolution(data: bytes, folder: Path) -> Convolution:
    (tensor,) = layers(data, folder)
    assert tensor.convolution
    return tensor.convolution


def weights(tensor: Tensor, folder: Path) -> np.ndarray:
    with LocalFile(folder / "model.onnx") as file, TensorReader(file) as reader:
        return canonical(stored_numbers(tensor, reader), tensor)


@pytest.mark.parametrize(("nodes", "arrays"), [pytest.param(*way, id=name) for name, way in ways_to_store()])
def test_a_weight_is_what_onnx_itself_makes_of_it(nodes, arrays, tmp_path):
    name = nodes[-1].output[0] if nodes else "w"
    expected = ReferenceEvaluator(model_of(nodes, arrays, (), (name,))).run(None, {})[0]  # type: ignore[index]  # run gives a list
    (layer,) = layers(model_of([*nodes, conv(name)], arrays).SerializeToString(), tmp_path)
    read = weights(layer, tmp_path)
    assert read.dtype == np.float32
    assert read.tobytes() == np.ascontiguousarray(expected.astype("f4")).tobytes()
    assert layer.layout is Layout.OI_K
    assert layer.span.length > 0 or layer.computation is not None


def weight_norm() -> Weight:
    node = helper.make_node
    nodes = [
        node("ReduceL2", ["v", "axes"], ["n"], keepdims=1),
        node("Div", ["v", "n"], ["d"]),
        node("Mul", ["d", "g"], ["w"]),
    ]
    return nodes, [stored("v", WEIGHT), stored("g", np.abs(WEIGHT[:, :1, :1, :1])), stored("axes", np.array([1, 2, 3]))]


def weight_standardisation() -> Weight:
    """(w - mean) / sqrt(variance + eps), as exporters write it out."""
    node = helper.make_node
    nodes = [
        node("ReduceMean", ["v", "axes"], ["m"]),
        node("Sub", ["v", "m"], ["c"]),
        node("Mul", ["c", "c"], ["s"]),
        node("ReduceMean", ["s", "axes"], ["var"]),
        node("Add", ["var", "eps"], ["e"]),
        node("Sqrt", ["e"], ["r"]),
        node("Reciprocal", ["r"], ["i"]),
        node("Mul", ["c", "i"], ["w"]),
    ]
    return nodes, [stored("v", WEIGHT), stored("eps", np.float32(1e-5)), stored("axes", np.array([1, 2, 3]))]


def spectral_norm() -> Weight:
    node = helper.make_node
    nodes = [
        node("Reshape", ["v", "flat"], ["m"]),
        node("MatMul", ["m", "right"], ["mr"]),
        node("MatMul", ["left", "mr"], ["sigma"]),
        node("Div", ["v", "sigma"], ["w"]),
    ]
    left, right = np.array([0.5, -0.5, 0.5, 0.5], "f4"), np.linspace(-0.3, 0.3, 27, dtype="f4")
    arrays = {"v": WEIGHT, "left": left, "right": right, "flat": np.array([4, -1])}
    return nodes, [stored(name, array) for name, array in arrays.items()]


@pytest.mark.parametrize("way", [weight_norm, weight_standardisation, spectral_norm])
def test_a_reparametrised_weight_is_computed_and_says_so(way, tmp_path):
    nodes, arrays = way()
    expected = ReferenceEvaluator(model_of(nodes, arrays, (), ("w",))).run(None, {})[0]  # type: ignore[index]  # run gives a list
    (layer,) = layers(model_of([*nodes, conv()], arrays).SerializeToString(), tmp_path)
    np.testing.assert_allclose(weights(layer, tmp_path), expected, rtol=1e-5, atol=1e-7)
    assert layer.computation.way is Way.FOLDED
    assert (layer.name, evidence_of(layer)) == ("v", Evidence.GRAPH)


def test_nodes_in_no_order_are_read_in_that_of_their_values(tmp_path):
    node = helper.make_node
    nodes = [
        node("Conv", ["b", "u"], ["y"]),
        node("Relu", ["a"], ["b"]),
        node("Transpose", ["v"], ["u"], perm=[0, 1, 3, 2]),
        node("Conv", ["x", "w"], ["a"]),
    ]
    read = layers(model_of(nodes, [stored("w", WEIGHT), stored("v", -WEIGHT)]).SerializeToString(), tmp_path)
    assert [(layer.name, layer.convolution.depth) for layer in read] == [("w", 1), ("v", 3)]


def test_an_initializer_that_is_written_twice_counts_once(tmp_path):
    (layer,) = layers(model_of([conv()], [stored("w", WEIGHT)] * 2).SerializeToString(), tmp_path)
    assert np.array_equal(weights(layer, tmp_path), WEIGHT)


@pytest.mark.parametrize("location", ["./w.bin", "a/b/w.bin", "./a/b/w.bin", "././a/./b/w.bin"])
def test_external_data_may_lie_in_folders_below(location, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "a" / "b"):
        (place / "w.bin").write_bytes(WEIGHT.tobytes())
    (layer,) = layers(one_conv(external(location=location)), tmp_path)
    assert np.array_equal(weights(layer, tmp_path), WEIGHT)


@pytest.mark.parametrize("location", ["../w.bin", "a/../../w.bin", "a//w.bin", "/w.bin", "link/w.bin", "a/link.bin"])
def test_external_data_are_never_above_or_behind_a_link(location, tmp_path):
    inside = tmp_path / "in"
    (inside / "a").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    (inside / "link").symlink_to(tmp_path)
    (inside / "a" / "link.bin").symlink_to(tmp_path / "w.bin")
    with pytest.raises(Refused) as refused:
        layers(one_conv(external(location=location)), inside)
    assert refused.value.reason is Reason.UNSAFE


def test_the_ways_to_store_are_as_many_as_promised():
    assert len(dict(ways_to_store())) >= 30


@pytest.mark.parametrize("entries", [{}, {"length": WEIGHT.nbytes}, {"offset": 0, "checksum": "x", "__class__": "y"}])
def test_external_data_lie_beside_the_file(entries, tmp_path):
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    (layer,) = layers(one_conv(external(location="w.bin", **entries)), tmp_path)
    assert layer.span == Span(0, WEIGHT.nbytes, "w.bin")
    assert np.array_equal(weights(layer, tmp_path), WEIGHT)


def test_external_data_as_onnx_writes_them(tmp_path):
    model = model_of([conv()], [stored("other", WEIGHT[0]), stored("w", WEIGHT)])
    onnx.save(model, tmp_path / "model.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (layer,) = layers((tmp_path / "model.onnx").read_bytes(), tmp_path)
    assert layer.span.side == "w.bin"
    assert layer.span.offset > 0
    assert np.array_equal(weights(layer, tmp_path), WEIGHT)


def test_a_side_file_that_no_convolution_needs_may_be_missing(tmp_path):
    array = external(location="gone.bin")
    array.name = "other"
    assert len(layers(model_of([conv()], [array, stored("w", WEIGHT)]).SerializeToString(), tmp_path)) == 1


def test_every_named_array_is_listed_once_and_tied_weights_once_for_each_reader(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
        helper.make_node("Constant", [], ["c"], value=stored("", np.arange(3))),
        helper.make_node("Conv", ["a", "w"], ["y"], name="second"),
    ]
    arrays = [stored("unused", WEIGHT), stored("w", WEIGHT), typed("text", TensorProto.STRING, np.array([b"a"]))]
    arrays.append(typed("small", TensorProto.INT4, np.arange(3)))
    tensors = index(model_of(nodes, arrays).SerializeToString(), tmp_path)
    assert [tensor.name for tensor in tensors] == ["w", "w", "c", "unused", "text", "small"]
    assert tensors[0].span == tensors[1].span
    assert [tensor.convolution.depth for tensor in tensors[:2]] == [1, 2]
    assert all(tensor.convolution is None and tensor.layout is Layout.OTHER for tensor in tensors[2:])


def test_initializers_that_are_inputs_too_are_weights(tmp_path):
    model = model_of([conv()], [stored("w", WEIGHT)], inputs=("x", "w"), ir_version=3)
    assert the_convolution(model.SerializeToString(), tmp_path).depth == 1


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose", "DeformConv"])
def test_defaults_are_those_of_the_operator(operator, tmp_path):
    data = model_of([conv(operator=operator)], [stored("w", WEIGHT)]).SerializeToString()
    (layer,) = layers(data, tmp_path)
    transposed = operator == "ConvTranspose"
    assert layer.layout is (Layout.IO_K if transposed else Layout.OI_K)
    found = layer.convolution
    assert found.kind is (Kind.TRANSPOSED if transposed else Kind.CONV)
    assert (found.groups, found.stride, found.dilation, found.padding) == (1, (1, 1), (1, 1), (0, 0, 0, 0))


@pytest.mark.parametrize(
    ("shape", "attributes", "expected"),
    [
        ((8, 3, 3, 3), {"strides": [2, 1], "dilations": [1, 3]}, (Kind.CONV, (2, 1), (1, 3), (0, 0, 0, 0))),
        ((8, 3, 3, 3), {"pads": [1, 2, 3, 4]}, (Kind.CONV, (1, 1), (1, 1), (1, 2, 3, 4))),
        ((8, 1, 3, 3), {"group": 8, "auto_pad": "VALID"}, (Kind.DEPTHWISE, (1, 1), (1, 1), (0, 0, 0, 0))),
        ((8, 1, 3, 3), {"group": 4, "auto_pad": "SAME_UPPER"}, (Kind.DEPTHWISE, (1, 1), (1, 1), None)),
        ((8, 2, 3, 3), {"group": 4, "auto_pad": "NOTSET", "pads": [1] * 4}, (Kind.GROUPED, (1, 1), (1, 1), (1,) * 4)),
        ((8, 1, 5), {"kernel_shape": [5], "strides": [3]}, (Kind.CONV, (3,), (1,), (0, 0))),
        ((8, 2, 1, 2, 3), {"kernel_shape": [1, 2, 3]}, (Kind.CONV, (1, 1, 1), (1, 1, 1), (0,) * 6)),
    ],
)  # fmt: skip
def test_attributes_become_the_convolution(shape, attributes, expected, tmp_path):
    found = the_convolution(one_conv(stored("w", np.ones(shape, "f4")), **attributes), tmp_path)
    assert (found.kind, found.stride, found.dilation, found.padding) == expected
    assert found.groups == attributes.get("group", 1)


def test_kernels_of_four_axes_are_no_layers(tmp_path):
    assert layers(one_conv(stored("w", np.ones((2, 2, 1, 1, 1, 1), "f4"))), tmp_path) == []


def test_a_weight_made_at_run_time_is_no_layer(tmp_path):
    nodes = [helper.make_node("Mul", ["w", "x"], ["v"]), conv("v")]
    tensors = index(model_of(nodes, [stored("w", WEIGHT)]).SerializeToString(), tmp_path)
    assert [tensor.convolution for tensor in tensors] == [None]
    assert layers(model_of([conv("w")], inputs=("x", "w")).SerializeToString(), tmp_path) == []


def test_an_unknown_convolution_without_a_stored_weight_stops_nothing(tmp_path):
    nodes = [helper.make_node("NhwcConv", ["x", "x"], ["a"], domain="com.microsoft"), conv()]
    assert len(layers(model_of(nodes, [stored("w", WEIGHT)]).SerializeToString(), tmp_path)) == 1


@pytest.mark.parametrize("domain", ["", "ai.onnx", "com.microsoft"])
def test_qlinearconv_reads_scale_and_zero_point(domain, tmp_path):
    scales, zeros = np.linspace(0.1, 0.4, 4, dtype="f4"), np.arange(4, dtype="u1")
    names = ["x", "s", "z", "w", "ws", "wz", "s", "z"]
    arrays = [stored("w", quantised("u1")), stored("ws", scales), stored("wz", zeros)]
    arrays += [stored("s", np.float32(1)), stored("z", np.uint8(0))]
    model = model_of([helper.make_node("QLinearConv", names, ["y"], domain=domain)], arrays)
    (layer,) = layers(model.SerializeToString(), tmp_path)
    expected = (quantised("u1").astype("f4") - np.arange(4, dtype="f4").reshape(4, 1, 1, 1)) * scales.reshape(
        4, 1, 1, 1
    )
    assert np.array_equal(weights(layer, tmp_path), expected)
    assert layer.quantisation.axis == 0


@pytest.mark.parametrize("with_zero_point", [True, False])
def test_dynamic_quantisation_has_the_scale_behind_the_convolution(with_zero_point, tmp_path):
    names = ["xq", "w", "xz", "wz"] if with_zero_point else ["xq", "w"]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("Mul", ["xs", "ws"], ["both"]),
        helper.make_node("ConvInteger", names, ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=1),
        helper.make_node("Mul", ["f", "both"], ["y"]),
    ]
    arrays = [stored("w", quantised("u1")), stored("ws", np.array([0.5], "f4")), stored("wz", np.uint8(7))]
    (layer,) = layers(model_of(nodes, arrays).SerializeToString(), tmp_path)
    expected = (quantised("u1").astype("f4") - (7 if with_zero_point else 0)) * np.float32(0.5)
    assert np.array_equal(weights(layer, tmp_path), expected)


def test_fused_convolutions_are_convolutions(tmp_path):
    node = helper.make_node("FusedConv", ["x", "w"], ["y"], domain="com.microsoft", activation="Relu")
    (layer,) = layers(model_of([node], [stored("w", WEIGHT)]).SerializeToString(), tmp_path)
    assert np.array_equal(weights(layer, tmp_path), WEIGHT)


def test_hostile_names_come_back_equal(tmp_path):
    for name in ("../../etc/passwd", "\x1b[31mred", "a\0b", "\u202egnp", "x" * 100_000, "C:\\w", "<script>"):
        (layer,) = layers(model_of([conv(name)], [stored(name, WEIGHT)]).SerializeToString(), tmp_path)
        assert layer.name == name


def test_the_licence_in_the_metadata_is_a_fact(tmp_path):
    model = onnx.load_from_string(GOOD)
    for key, text in (("author", "A"), ("License", "AGPL-3.0")):
        model.metadata_props.add(key=key, value=text)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with LocalFile(tmp_path / "model.onnx") as file:
        assert Onnx().facts(file).licence == "AGPL-3.0"
    (tmp_path / "model.onnx").write_bytes(GOOD)
    with LocalFile(tmp_path / "model.onnx") as file:
        facts = Onnx().facts(file)
    assert (facts.framework, facts.licence) == ("onnx", None)


@pytest.mark.parametrize(
    ("imports", "opset"),
    [
        ([("", 17)], 17),
        ([("com.microsoft", 1), ("ai.onnx", 13)], 13),
        ([("own", 3)], None),
        ([("", 13), ("ai.onnx", 17)], None),
        ([("", -1)], None),
        ([("", 1 << 40)], None),
        ([], None),
    ],
)
def test_the_operator_set_is_a_fact(imports, opset):
    model = onnx.load_from_string(GOOD)
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*one) for one in imports)
    assert Onnx().facts(MemoryFile(model.SerializeToString())).opset == opset


def test_a_head_is_known_by_its_structure():
    onnx_format = Onnx()
    long = model_of([conv()], [stored("w", WEIGHT)], doc_string="d" * 10_000, producer_name="p")
    past_the_end = GOOD + b"\x12\x80\x80\x80\x80\x80\x20"
    for data in (GOOD, long.SerializeToString(), GOOD[:100], past_the_end):
        assert onnx_format.accepts(data[:4096], "")
    others = [b"", b"\x08", b"\x08\x08", bytes(4096), b"<!DOCTYPE html><html>", b'{"a": 1}', b"PK\x03\x04" + bytes(100)]
    others += [b"\x80\x02}q\x00.", b"\x10\0\0\0\0\0\0\0{}", b"\x89HDF\r\n\x1a\n", b"\xff" * 500, b"\x93NUMPY\x01\0"]
    others += [b"\x08\x00\x12\x00", b"\x0a\x03abc\x12\x00", b"\x08\x08\x09\x00", b"\x3a\x02" + b"\x0a\x7f" * 2000]
    others += [b"\x1c\0\0\0TFL3" + bytes(50), b"\x08\x08\x08\x08" * 100 + b"\xff", value("x").SerializeToString()]
    assert not [data[:20] for data in others if onnx_format.accepts(data, "model.onnx")]


def test_the_hook_gives_the_format():
    assert [entry.name for entry in filterzoo_formats()] == ["onnx"]


def test_bfloat16_keeps_its_type(tmp_path):
    (layer,) = layers(one_conv(bfloat16("w")), tmp_path)
    assert layer.dtype == "BF16"
