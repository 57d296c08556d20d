"""Honest files come back bit for bit as their framework reads them, through the jail and the turned axes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.untrusted_files.honest import VARIANTS
from tests.untrusted_files.reading import layers, readers

from filterzoo.files import LocalFile
from filterzoo.jail import Jail


@pytest.fixture(scope="module")
def jail():
    with Jail(readers()) as made:
        yield made


def test_there_are_as_many_as_promised():
    assert len(VARIANTS) >= 60


@pytest.mark.parametrize("label", VARIANTS)
def test_every_layer_is_what_the_framework_reads(label, jail, tmp_path):
    name, write = VARIANTS[label]
    expected = write(tmp_path / name)
    with LocalFile(tmp_path / name) as file:
        read = {layer.name: layer.weights for layer in layers(file, jail.index(file, name))}
    if list(expected) == [""]:
        read = dict(zip([""], read.values(), strict=True))
    assert set(read) == set(expected)
    for layer, weights in expected.items():
        assert read[layer].dtype == weights.dtype == np.float32, layer
        assert read[layer].shape == weights.shape, layer
        assert read[layer].tobytes() == weights.tobytes(), layer
