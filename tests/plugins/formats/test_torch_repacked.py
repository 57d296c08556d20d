"""Zips of torch that were packed again, and several saves in one file."""

from __future__ import annotations

import zipfile
from io import BytesIO

import numpy as np
import pytest
import torch
from tests.memory_file import MemoryFile

from filterzoo.errors import Reason, Refused
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


def saved(value: object, **options) -> bytes:
    stream = BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        ({"x.weight": WEIGHT.to_sparse()}, "sparse"),
        ({"x.weight": WEIGHT.to("meta")}, "no numbers"),
        (WEIGHT, "by itself"),
    ],
    ids=["sparse", "meta", "alone"],
)
def test_weights_that_cannot_be_read_are_named(value, detail):
    with pytest.raises(Refused, match=detail) as caught:
        layers(saved(value))
    assert caught.value.reason is Reason.UNSUPPORTED


def test_a_shard_of_torch_distributed_checkpoint_is_named():
    with pytest.raises(Refused, match=r"torch\.distributed\.checkpoint") as caught:
        layers(saved(WEIGHT) + saved(WEIGHT[:2]))
    assert caught.value.reason is Reason.UNSUPPORTED


def test_keys_of_bytes_are_names():
    (only,) = layers(saved({b"x.weight": WEIGHT}))
    assert only.name == "x.weight"
