"""Keras 3 weights under attributes of subclassed models, in wrappers and in cells: what h5py shows of such files."""

from __future__ import annotations

import numpy as np
import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats.hdf5_files import hdf5_bytes

from filterzoo.layers.selection import selection
from filterzoo.layers.shapes import canonical_shape
from filterzoo.records import Kind
from filterzoo_plugins.formats.keras.hdf5 import Hdf5


def layers(groups: dict[str, list[tuple[int, ...]]], stated: dict[str, str] | None = None):
    def write(file):
        for group, sides in groups.items():
            variables = file.create_group(f"{group}/vars")
            variables.attrs["name"] = (stated or {}).get(group, group.rpartition("/")[2])
            for number, side in enumerate(sides):
                variables[str(number)] = np.zeros(side, "f4")

    found = selection(list(Hdf5().index(MemoryFile(hdf5_bytes(write)))))
    return [(canonical_shape(each), each.convolution.kind) for each in found.convolutions]


def test_attributes_of_a_subclassed_model():
    assert layers({"qzx": [(3, 3, 3, 8), (8,)], "vbk": [(3, 3, 8, 1), (8,)], "wpl": [(1, 1, 8, 4), (4,)]}) == [
        ((8, 3, 3, 3), Kind.CONV),
        ((8, 1, 3, 3), Kind.DEPTHWISE),
        ((4, 8, 1, 1), Kind.CONV),
    ]


def test_depthwise_without_a_bias_is_recognised_by_its_reader():
    made = layers({"qzx": [(3, 3, 3, 8)], "vbk": [(3, 3, 8, 1)], "wpl": [(1, 1, 8, 4)]})
    assert [kind for _, kind in made] == [Kind.CONV, Kind.DEPTHWISE, Kind.CONV]


def test_a_wrapper_keeps_the_kernel_of_its_layer_once_more():
    made = layers({"qzx/layer": [(3, 3, 3, 4), (4,)], "qzx": [(3, 3, 3, 4), (1, 4)]})
    assert made == [((4, 3, 3, 3), Kind.CONV)]


def test_both_directions_of_recurrent_convolutions():
    cells = {f"qzx/{way}/cell": [(3, 3, 3, 12), (3, 3, 3, 12), (12,)] for way in ("forward_layer", "backward_layer")}
    assert layers(cells) == [((12, 3, 3, 3), Kind.CONV)] * 4


@pytest.mark.parametrize("sides", [[(8, 2, 4), (2, 4)], [(1, 197, 768)], [(16, 28, 28), (16, 28, 28)]])
def test_what_is_none(sides):
    stem = {"abc": [(3, 3, 3, 8), (8,)]}
    assert len(layers({**stem, "zzz": sides})) == 1
