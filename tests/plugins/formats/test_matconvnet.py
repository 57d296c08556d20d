from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat
from tests.plugins.formats.matlab_files import WEIGHT, cells, chain, conv, hostile, mat, structs
from tests.untrusted_files.reading import BytesFile, Read, index, layers

from filterzoo.errors import Refused
from filterzoo.records import Kind

DICE = np.random.default_rng(6)
HOSTILE: dict[str, Any] = {label: case for label, *case in hostile()}


def found(content: bytes) -> list[Read]:
    file = BytesFile(content)
    return layers(file, index(file, "net.mat"))


def canonical(filters: np.ndarray) -> np.ndarray:
    return np.moveaxis(filters, (-1, -2), (0, 1))


@pytest.mark.parametrize("packed", [False, True])
def test_a_chain_is_read_as_scipy_reads_it(packed):
    second = DICE.normal(size=(3, 3, 8, 4)).astype("f4")
    content = chain(
        conv(WEIGHT, "one", stride=[2.0, 1.0], pad=[1.0, 2.0, 3.0, 4.0]),
        {"type": "relu", "name": "r"},
        conv(second, "two", stride=1.0, pad=0.0, dilate=2.0),
        packed=packed,
    )
    one, two = found(content)
    theirs = loadmat(io.BytesIO(content))["layers"][0]
    for read, place in ((one, 0), (two, 2)):
        assert np.array_equal(read.weights, canonical(theirs[place]["weights"][0, 0][0, 0]))
    described = one.tensor.convolution
    assert (one.name, described.stride, described.padding) == ("one.filters", (2, 1), (1, 3, 2, 4))
    assert (two.tensor.convolution.dilation, two.tensor.convolution.groups) == ((2, 2), 1)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_old_networks_call_the_filters_so(dtype):
    layer = {"type": "conv", "filters": WEIGHT.astype(dtype), "biases": np.zeros(8, dtype), "stride": 1.0}
    (read,) = found(chain(layer))
    assert np.array_equal(read.weights, canonical(WEIGHT))


def test_axes_of_length_1_at_the_end_are_left_out_by_matlab():
    (read,) = found(chain(conv(DICE.normal(size=(3, 3, 4, 1)).astype("f4")[..., 0])))
    assert read.weights.shape == (1, 4, 3, 3)


def test_fewer_inputs_than_channels_make_groups():
    grouped = DICE.normal(size=(3, 3, 4, 6)).astype("f4")
    _, read = found(chain(conv(WEIGHT), {"type": "pool", "name": "p"}, conv(grouped)))
    assert (read.tensor.convolution.kind, read.tensor.convolution.groups) == (Kind.GROUPED, 2)
    _, unknown = found(chain(conv(WEIGHT), {"type": "custom", "name": "p"}, conv(grouped)))
    assert unknown.tensor.convolution.groups is None


def test_transposed_ones_are_height_width_out_in():
    up = DICE.normal(size=(4, 4, 2, 8)).astype("f4")
    _, read = found(chain(conv(WEIGHT), conv(up, type_="convt", upsample=2.0, crop=[1.0, 1.0, 1.0, 1.0])))
    assert read.tensor.convolution.kind is Kind.TRANSPOSED
    assert np.array_equal(read.weights, up.transpose(2, 3, 0, 1))


def test_whole_numbers_in_fewer_bits_are_what_they_are():
    whole = DICE.integers(0, 200, (3, 3, 2, 2)).astype("f8")
    (read,) = found(chain({"type": "conv", "filters": whole.astype("u1"), "stride": 1.0}))
    assert np.array_equal(read.weights, canonical(whole).astype("f4"))


def test_a_graph_reads_its_parameters_by_name():
    other = DICE.normal(size=(1, 1, 8, 4)).astype("f4")
    params = structs({"name": "b", "value": np.zeros(8, "f4")}, {"name": "two_f", "value": other},
                     {"name": "one_f", "value": WEIGHT})  # fmt: skip
    block = structs({"stride": np.array([2.0, 2.0]), "pad": np.array([1.0, 1.0, 1.0, 1.0])})
    made = structs(
        {"name": "one", "type": "dagnn.Conv", "inputs": cells("data"), "outputs": cells("x"),
         "params": cells("one_f", "b"), "block": block},
        {"name": "r", "type": "dagnn.ReLU", "inputs": cells("x"), "outputs": cells("y"), "params": cells(),
         "block": block},
        {"name": "two", "type": "dagnn.Conv", "inputs": cells("y"), "outputs": cells("z"), "params": cells("two_f"),
         "block": block},
    )  # fmt: skip
    one, two = found(mat(params=params, layers=made))
    assert (one.name, two.name) == ("one_f", "two_f")
    assert np.array_equal(one.weights, canonical(WEIGHT))
    assert np.array_equal(two.weights, canonical(other))
    assert (one.tensor.convolution.stride, one.tensor.convolution.depth) == ((2, 2), 1)
    assert two.tensor.convolution.depth == 3


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_files_are_refused_with_the_reason(label):
    content, reason, what = HOSTILE[label]
    with pytest.raises(Refused) as refusal:
        found(content)
    assert (str(refusal.value.reason), what in str(refusal.value)) == (reason, True), str(refusal.value)
