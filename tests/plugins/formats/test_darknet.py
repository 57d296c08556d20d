from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.plugins.formats.darknet_files import ARRAYS, CONFIG, hostile, weights
from tests.untrusted_files.reading import BytesFile, Read, index, layers

from filterzoo.errors import Refused
from filterzoo.records import Kind
from filterzoo_plugins.formats.darknet import Darknet

HOSTILE: dict[str, Any] = {label: case for label, *case in hostile()}


def found(content: bytes, config: str | None, name: str = "yolo.weights") -> list[Read]:
    file = BytesFile(content, {} if config is None else {"yolo.cfg": config.encode()})
    return layers(file, index(file, name))


def test_the_description_says_where_the_numbers_of_each_layer_are():
    read = found(weights(*ARRAYS), CONFIG)
    assert [each.name for each in read] == [f"{n}.convolutional.weights" for n in (0, 2, 5)]
    kernels = [array for array in ARRAYS if array.ndim == 4]
    assert all(np.array_equal(each.weights, kernel) for each, kernel in zip(read, kernels, strict=True))


def test_the_description_says_what_each_layer_does():
    first, grouped, dilated = (each.tensor.convolution for each in found(weights(*ARRAYS), CONFIG))
    assert (first.stride, first.padding, first.kind) == ((2, 2), (1, 1, 1, 1), Kind.CONV)
    assert (grouped.kind, grouped.groups, grouped.padding) == (Kind.GROUPED, 2, (0, 0, 0, 0))
    assert (dilated.dilation, dilated.padding) == ((2, 2), (2, 2, 2, 2))
    assert [each.depth for each in (first, grouped, dilated)] == [1, 3, 6]


def test_old_files_count_pictures_in_32_bits():
    assert len(found(weights(*ARRAYS, minor=1), CONFIG)) == 3


def test_depthwise_layers():
    config = "[net]\nchannels=3\n[conv]\nfilters=3\nsize=3\ngroups=3\n"
    (read,) = found(weights(np.zeros(3, "f4"), np.ones((3, 1, 3, 3), "f4")), config)
    assert (read.tensor.convolution.kind, read.tensor.convolution.groups) == (Kind.DEPTHWISE, 3)


def test_the_first_of_two_equal_options_counts_and_line_ends_do_not():
    config = CONFIG.replace("filters=8\n", "filters=8\nfilters=9\n").replace("\n", "\r\n")
    assert len(found(weights(*ARRAYS), config)) == 3


@pytest.mark.parametrize("label", HOSTILE)
def test_hostile_files_are_refused_with_the_reason(label):
    content, config, reason, what = HOSTILE[label]
    with pytest.raises(Refused) as refusal:
        found(content, config)
    assert (str(refusal.value.reason), what in str(refusal.value)) == (reason, True), str(refusal.value)


def test_it_is_known_by_its_name_and_version():
    assert Darknet().accepts(weights(*ARRAYS)[:4096], "YOLO.weights")
    assert not Darknet().accepts(weights(*ARRAYS)[:4096], "yolo.bin")
    assert not Darknet().accepts(b"\xff" * 64, "yolo.weights")
