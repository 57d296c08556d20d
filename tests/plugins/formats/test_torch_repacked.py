"""Zips of torch that were packed again, and several saves in one file."""

from __future__ import annotations

import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from tests.memory_file import MemoryFile

from filterzoo.errors import Refused
from filterzoo.layers.normalise import normalise
from filterzoo.layers.selection import select
from filterzoo.layers.stored import TensorReader
from filterzoo_plugins.formats.torch import TorchFormat

WEIGHT = torch.arange(8 * 3 * 9, dtype=torch.float32).reshape(8, 3, 3, 3)


def layers(data: bytes):
    file = MemoryFile(data)
    with TensorReader(file) as reader:
        return list(normalise(select(list(TorchFormat().index(file))), reader))


def test_a_checkpoint_that_was_zipped_again_with_compression():
    stream, again = BytesIO(), BytesIO()
    torch.save({"x.weight": WEIGHT, "y.weight": WEIGHT[:4, :2]}, stream)
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(again, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    first, second = layers(again.getvalue())
    assert np.array_equal(first.weights, WEIGHT.numpy())
    assert np.array_equal(second.weights, WEIGHT[:4, :2].numpy())


def test_of_several_saves_in_one_file_the_first_is_read_as_torch_does():
    stream = BytesIO()
    for value in ({"x.weight": WEIGHT}, {"epoch": 3}):
        torch.save(value, stream, _use_new_zipfile_serialization=False)
    (only,) = layers(stream.getvalue())
    assert np.array_equal(only.weights, WEIGHT.numpy())
    with pytest.raises(Refused, match="behind the last storage"):
        layers(_with_garbage())


def _with_garbage() -> bytes:
    stream = BytesIO()
    torch.save({"x.weight": WEIGHT}, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue() + b"garbage"


def test_a_tensor_by_itself_is_refused():
    stream = BytesIO()
    torch.save(WEIGHT, stream)
    with pytest.raises(Refused, match="by itself"):
        layers(stream.getvalue())
