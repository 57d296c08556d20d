from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.plugins.formats.caffe_files import WEIGHT, blob, hostile, layer, network, one_conv
from tests.plugins.formats.onnx_files import message
from tests.untrusted_files.reading import BytesFile, Read, index, layers

from filterzoo.errors import Refused
from filterzoo.records import Context, Kind
from filterzoo_plugins.formats.caffe import Caffe

DICE = np.random.default_rng(1)
HOSTILE: dict[str, Any] = {label: case for label, *case in hostile()}


def found(content: bytes, name: str = "net.caffemodel") -> dict[str, Read]:
    file = BytesFile(content)
    return {read.name: read for read in layers(file, index(file, name))}


@pytest.mark.parametrize("old", [False, True])
def test_a_convolution_of_both_forms(old):
    read = found(one_conv(old=old, stride=2, pad_h=1, pad_w=3, dilation=(2, 3)))["conv.0"]
    described = read.tensor.convolution
    assert np.array_equal(read.weights, WEIGHT)
    assert (described.kind, described.groups, described.context) == (Kind.GROUPED, 2, Context.GRAPH)
    assert (described.stride, described.padding, described.dilation) == ((2, 2), (1, 3, 1, 3), (2, 3))


def test_numbers_that_are_left_out_are_those_of_caffe():
    described = found(one_conv())["conv.0"].tensor.convolution
    assert (described.stride, described.padding, described.dilation) == ((1, 1), (0, 0, 0, 0), (1, 1))


def test_a_deconvolution_is_in_out_in_each_group():
    stored = DICE.normal(size=(4, 3, 2, 2)).astype("f4")
    content = network(layer("up", "Deconvolution", "data", "up", blob(stored), num_output=6, kernel_size=2, group=2))
    read = found(content)["up.0"]
    assert read.tensor.convolution.kind is Kind.TRANSPOSED
    assert np.array_equal(read.weights, np.concatenate([part.swapaxes(0, 1) for part in np.split(stored, 2)]))


@pytest.mark.parametrize("type_", ["Convolution", "ConvolutionDepthwise", "DepthwiseConvolution"])
def test_depthwise_layers_of_forks(type_):
    stored = DICE.normal(size=(8, 1, 3, 3)).astype("f4")
    group = {"group": 8} if type_ == "Convolution" else {}
    described = found(network(layer("dw", type_, "data", "dw", blob(stored), **group, num_output=8)))["dw.0"].tensor  # type: ignore[arg-type]  # fields by name, of several types
    assert (described.convolution.kind, described.convolution.groups) == (Kind.DEPTHWISE, 8)


def test_volumes_doubles_and_other_layers():
    volume, matrix = DICE.normal(size=(4, 3, 3, 3, 3)), DICE.normal(size=(4, 9)).astype("f4")
    content = network(
        layer("c", "Convolution", "data", "c", blob(volume), num_output=4, kernel_size=3),
        layer("fc", "InnerProduct", "c", "fc", blob(matrix)),
    )
    read = index(BytesFile(content), "n.caffemodel")
    assert (len(read.convolutions), read.tensor_count) == (1, 2)
    assert np.array_equal(found(content)["c.0"].weights, volume.astype("f4"))


def test_depth_is_the_longest_way_and_unknown_where_a_layer_says_no_input():
    kernel = blob(DICE.normal(size=(2, 2, 1, 1)).astype("f4"))
    chain = [layer("a", "Convolution", "data", "a", kernel, num_output=2), layer("r", "ReLU", "a", "a")]
    both = network(*chain, layer("b", "Convolution", "a", "b", kernel, num_output=2))
    assert [read.tensor.convolution.depth for read in found(both).values()] == [1, 3]
    alone = network(*chain, layer("b", "Convolution", "", "b", kernel, num_output=2))
    assert [read.tensor.convolution.depth for read in found(alone).values()] == [None, None]


def test_only_a_layer_that_cannot_be_read_is_left_out():
    kernel = blob(DICE.normal(size=(2, 2, 1, 1)).astype("f4"))
    content = network(
        layer("a", "Convolution", "data", "a", kernel, num_output=2),
        layer("b", "OctaveConv", "a", "b", kernel, num_output=2),
    )
    read = index(BytesFile(content), "n.caffemodel")
    assert [tensor.name for tensor in read.convolutions] == ["a.0"]
    assert [left.name for left in read.left_out] == ["b"]


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_files_are_refused_with_the_reason(label):
    content, reason, what = HOSTILE[label]
    with pytest.raises(Refused) as refusal:
        found(content)
    assert (str(refusal.value.reason), what in str(refusal.value)) == (reason, True), str(refusal.value)


def test_it_is_known_by_its_layers():
    assert Caffe().accepts(one_conv()[5:4096], "model")
    assert not Caffe().accepts(message(1, b"text") + message(9, b"more"), "model")
    assert not Caffe().accepts(b"\n\x04conv", "x.caffemodel")
