from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.plugins.formats.coreml_files import (
    SIDE,
    WEIGHT,
    Blobs,
    const,
    conv,
    hostile,
    model,
    one_conv,
    one_program,
    operation,
    program,
    value,
    weights,
)
from tests.plugins.formats.onnx_files import message
from tests.untrusted_files.archive_cases import zipped
from tests.untrusted_files.reading import BytesFile, Read, index, layers

from filterzoo.errors import Refused
from filterzoo.records import Kind

DICE = np.random.default_rng(9)
HOSTILE: dict[str, Any] = {label: case for label, *case in hostile()}


def found(content: bytes, sides: dict[str, bytes] | None = None, name: str = "a.mlmodel") -> dict[str, Read]:
    file = BytesFile(content, sides)
    return {read.name: read for read in layers(file, index(file, name))}


def in_groups(stored: np.ndarray, groups: int) -> np.ndarray:
    """(in, out/groups, *kernel) -> (out, in/groups, *kernel)."""
    return np.concatenate([part.swapaxes(0, 1) for part in np.split(stored, groups)])


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_a_layer_says_what_it_does(dtype):
    stored = WEIGHT.astype(dtype)
    read = found(one_conv(weights(stored), stride=(2, 1), dilation=(1, 3), borders=(1, 2, 3, 4)))["conv.weights"]
    described = read.tensor.convolution
    assert np.array_equal(read.weights, stored.astype("f4"))
    assert (described.kind, described.groups) == (Kind.GROUPED, 2)
    assert (described.stride, described.dilation, described.padding) == ((2, 1), (1, 3), (1, 3, 2, 4))


@pytest.mark.parametrize(("borders", "padding"), [((), (0, 0, 0, 0)), (None, None)])
def test_padding(borders, padding):
    assert found(one_conv(borders=borders))["conv.weights"].tensor.convolution.padding == padding


@pytest.mark.parametrize("field", [303, 403, 500])
def test_classifiers_and_regressors_are_networks_too(field):
    assert len(found(model(conv("c", "x", weights(WEIGHT), WEIGHT.shape, groups=2), field))) == 1


def test_models_of_a_pipeline_are_read_in_order():
    pipeline = message(1, one_conv()) + message(1, model(conv("next", "x", weights(WEIGHT), WEIGHT.shape, groups=2)))
    assert list(found(model(pipeline, 202))) == ["conv.weights", "next.weights"]
    assert list(found(model(message(1, pipeline), 200))) == ["conv.weights", "next.weights"]


def test_a_weight_that_the_network_makes_is_no_layer():
    fixed = conv("c", "image", weights(WEIGHT), WEIGHT.shape, groups=2)
    made = conv("d", "image", b"", WEIGHT.shape, groups=2).replace(
        message(3, b"d"), message(2, b"c") + message(3, b"d")
    )
    # The layer has become longer by the name of its second input.
    made = message(1, made[made.index(b"\x0a\x01d") :])
    assert list(found(model(fixed + made))) == ["c.weights"]


def test_transposed_ones_are_in_out():
    stored = DICE.normal(size=(4, 3, 2, 2)).astype("f4")
    read = found(one_conv(weights(stored), shape=stored.shape, is_up=True))["conv.weights"]
    assert read.tensor.convolution.kind is Kind.TRANSPOSED
    assert np.array_equal(read.weights, in_groups(stored, 2))


@pytest.mark.parametrize("count", [1, 6])
def test_bytes_are_scaled_and_moved(count):
    whole = DICE.integers(0, 256, WEIGHT.shape).astype("u1")
    scale, bias = DICE.random(count).astype("f4"), DICE.normal(size=count).astype("f4")
    read = found(one_conv(weights(whole, scale=scale, bias=bias)))["conv.weights"]
    assert np.array_equal(read.weights, whole.astype("f4") * scale.reshape(-1, 1, 1, 1) + bias.reshape(-1, 1, 1, 1))


def test_a_program_reads_its_weights_beside_it():
    blobs = Blobs()
    content = one_program(blobs.add(WEIGHT), strides=value(np.array([2, 1], "i4")), pad_type=value("custom"),
                          pad=value(np.array([1, 2, 3, 4], "i4")))  # fmt: skip
    read = found(content, {SIDE: blobs.content})["w"]
    described = read.tensor.convolution
    assert np.array_equal(read.weights, WEIGHT)
    assert (described.stride, described.padding, described.groups) == ((2, 1), (1, 3, 2, 4), 2)


def test_a_package_is_read_as_a_zip():
    blobs = Blobs()
    folder = "net.mlpackage/Data/com.apple.CoreML/"
    members = ((f"{folder}model.mlmodel", one_program(blobs.add(WEIGHT))), (folder + SIDE, blobs.content))
    assert np.array_equal(found(zipped(*members), name="net.mlpackage.zip")["w"].weights, WEIGHT)


def test_a_weight_in_the_program_itself():
    assert np.array_equal(found(one_program(value(WEIGHT)))["w"].weights, WEIGHT)


def test_transposed_operations_and_volumes():
    stored = DICE.normal(size=(4, 3, 2, 2, 2)).astype("f4")
    read = found(one_program(value(stored), "conv_transpose"))["w"]
    assert np.array_equal(read.weights, in_groups(stored, 2))


def test_integers_are_scaled_along_an_axis():
    whole = DICE.integers(-99, 99, WEIGHT.shape).astype("i1")
    scale, zero = DICE.random(6).astype("f4"), DICE.integers(-9, 9, 6).astype("i1")
    parts = {"quantized_data": value(whole), "zero_point": value(zero), "scale": value(scale),
             "axis": value(np.array(0, "i4"))}  # fmt: skip
    content = program(
        operation("constexpr_affine_dequantize", "w", parts),
        operation("conv", "c", x="image", weight="w", groups=value(np.array(2, "i4"))),
    )
    expected = (whole.astype("f4") - zero.astype("f4").reshape(-1, 1, 1, 1)) * scale.reshape(-1, 1, 1, 1)
    assert np.array_equal(found(content)["w"].weights, expected)


def test_depth_and_weights_of_run_time():
    ones = value(np.ones((3, 3, 1, 1), "f4"))
    content = program(
        const("w", ones), operation("conv", "a", x="image", weight="w"), operation("relu", "r", x="a"),
        operation("conv", "b", x="r", weight="w"), operation("conv", "none", x="r", weight="a"),
    )  # fmt: skip
    file = BytesFile(content)
    assert [tensor.convolution.depth for tensor in index(file, "m.mlmodel").convolutions] == [1, 3]


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_files_are_refused_with_the_reason(label):
    content, sides, reason, what = HOSTILE[label]
    with pytest.raises(Refused) as refusal:
        found(content, sides)
    assert (str(refusal.value.reason), what in str(refusal.value)) == (reason, True), str(refusal.value)
