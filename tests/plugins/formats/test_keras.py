from __future__ import annotations

import io
import json
import zipfile

import h5py
import numpy as np
import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats.hdf5_files import LAYERS, KerasLayer, hdf5_bytes, keras_archive
from tests.plugins.formats.test_hdf5 import CONVOLUTIONS, described

from filterzoo.errors import Reason, Refused
from filterzoo.layers.stored import TensorReader
from filterzoo.records import FileFacts, Layout, Tensor
from filterzoo_plugins.formats.keras import Keras


def index(data: bytes) -> list[Tensor]:
    return list(Keras().index(MemoryFile(data)))


def test_every_array_equals_what_h5py_reads():
    data = keras_archive(LAYERS)
    file = MemoryFile(data)
    assert Keras().accepts(data[:4096], "model.keras")
    weights = zipfile.ZipFile(io.BytesIO(data)).read("model.weights.h5")
    with h5py.File(io.BytesIO(weights)) as reference, TensorReader(file) as reader:
        tensors = list(Keras().index(file))
        assert len(tensors) == sum(len(layer.variables) for layer in LAYERS)
        for tensor in tensors:
            assert reader.read(tensor).tobytes() == reference[tensor.name][()].tobytes()
        assert reader.has_crc
    assert Keras().facts(file) == FileFacts("keras")


def test_convolutions_are_described_by_the_configuration():
    found = [tensor for tensor in index(keras_archive(LAYERS)) if tensor.convolution]
    number_of = {layer.name: layer.number for layer in LAYERS}
    names = [f"layers/{number_of[expected[0]]}/vars/0" for expected in CONVOLUTIONS]
    names[3] = "layers/separable_conv2d/vars/1"
    assert [tensor.name for tensor in found] == names
    assert [described(tensor) for tensor in found] == [expected[1:] for expected in CONVOLUTIONS]


def test_chunked_weights_are_found_in_the_archive():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype("f4")

    def write(file):
        file.create_dataset("layers/conv2d/vars/0", data=kernel, chunks=(3, 3, 3, 3), compression="gzip")

    file = MemoryFile(keras_archive(LAYERS, model_weights_h5=hdf5_bytes(write)))
    with TensorReader(file) as reader:
        (tensor,) = Keras().index(file)
        assert np.array_equal(reader.read(tensor), kernel)


def test_a_wrapped_and_a_nested_layer():
    inner = {"class_name": "Conv2D", "name": "inner", "config": {"name": "inner", "strides": 3}}
    config = {
        "class_name": "Sequential",
        "config": {
            "layers": [
                {"class_name": "InputLayer", "config": {}},
                {"class_name": "TimeDistributed", "name": "each", "config": {"layer": inner}},
                {"class_name": "Sequential", "name": "block", "config": {"layers": [inner, inner]}},
            ]
        },
    }
    paths = [
        "layers/time_distributed/vars/0",
        "layers/sequential/layers/conv2d/vars/0",
        "layers/sequential/layers/conv2d_1/vars/0",
    ]

    def write(file):
        for path in paths:
            file[path] = np.zeros((3, 3, 1, 2), "f4")

    found = index(keras_archive([], config_json=json.dumps(config).encode(), model_weights_h5=hdf5_bytes(write)))
    assert [tensor.name for tensor in found] == paths
    assert {tensor.convolution.stride for tensor in found} == {(3, 3)}


@pytest.mark.parametrize(
    "config",
    [
        {"strides": "3", "groups": -1, "padding": ["same"], "dilation_rate": None},
        {"strides": [1, 2, 3], "groups": 10**9, "dilation_rate": [0, 0]},
        {"groups": 5, "strides": [True, True]},
        {"layers": "evil", "name": 3},
        {"layers": [1, None, {"config": []}]},
    ],
)
def test_a_senseless_configuration_states_nothing(config):
    layer = KerasLayer("Conv2D", "conv", "conv2d", {"kernel": np.zeros((3, 3, 2, 4), "f4")}, config)
    (tensor,) = index(keras_archive([layer]))
    assert tensor.layout is Layout.K_IO
    assert tensor.convolution.groups in {None, 1}


SENSELESS = [[], ["same"], [[1]], {}, {"a": 1}, None, True, -1, 10**30, 0.5, "\0", ""]


@pytest.mark.parametrize(
    "key", ["padding", "strides", "dilation_rate", "groups", "name", "class_name", "layer", "layers"]
)
@pytest.mark.parametrize("value", SENSELESS, ids=str)
def test_any_json_in_a_configuration_costs_the_context_only(key, value):
    layer = KerasLayer("Conv2D", "conv", "conv2d", {"kernel": np.zeros((3, 3, 2, 4), "f4")}, {key: value})
    (tensor,) = index(keras_archive([layer]))
    assert tensor.convolution is not None


_GOOD = keras_archive(LAYERS)
HOSTILE = {
    "no configuration": (keras_archive(LAYERS, config_json=None), Reason.MALFORMED),
    "no weights": (keras_archive(LAYERS, model_weights_h5=None), Reason.MALFORMED),
    "compressed": (keras_archive(LAYERS, zipfile.ZIP_DEFLATED), Reason.UNSUPPORTED),
    "configuration that is no JSON": (keras_archive(LAYERS, config_json=b"{'a': 1}"), Reason.MALFORMED),
    "configuration that nests": (keras_archive(LAYERS, config_json=b"[" * 9000 + b"]" * 9000), Reason.LIMIT),
    "configuration that repeats a key": (keras_archive(LAYERS, config_json=b'{"a":1,"a":2}'), Reason.MALFORMED),
    "weights that are no HDF5": (keras_archive(LAYERS, model_weights_h5=b"x" * 500), Reason.MALFORMED),
    "weights that link outside": (
        keras_archive(
            LAYERS,
            model_weights_h5=hdf5_bytes(lambda file: file.__setitem__("layers", h5py.ExternalLink("o.h5", "/"))),
        ),
        Reason.UNSAFE,
    ),
    "cut in half": (_GOOD[: len(_GOOD) // 2], Reason.MALFORMED),
    "two configurations": (
        keras_archive(LAYERS, config_jsom=b"{}").replace(b"config.jsom", b"config.json"),
        Reason.UNSAFE,
    ),
    "bytes before the zip": (b"PK\3\4" + bytes(90) + _GOOD, Reason.UNSAFE),
}


@pytest.mark.parametrize("wrong", HOSTILE)
def test_refused(wrong):
    data, reason = HOSTILE[wrong]
    with pytest.raises(Refused) as refusal:
        index(data)
    assert refusal.value.reason is reason


def test_a_flipped_bit_is_noticed():
    kernel = LAYERS[1].variables["kernel"].tobytes()
    at = _GOOD.index(kernel)
    file = MemoryFile(_GOOD[:at] + bytes([_GOOD[at] ^ 1]) + _GOOD[at + 1 :])
    with pytest.raises(Refused) as refusal, TensorReader(file) as reader:
        reader.read(next(tensor for tensor in Keras().index(file) if tensor.convolution))
    assert refusal.value.reason is Reason.DAMAGED


@pytest.mark.parametrize(
    ("head", "name", "accepted"),
    [
        (_GOOD[:4096], "anything", True),
        (keras_archive(LAYERS, metadata_json=None, config_json=None)[:4096], "model.keras", True),
        (keras_archive(LAYERS, metadata_json=b"{}", config_json=b"{}")[:200], "model.keras", False),
        (b"PK\3\4", "model.keras", False),
        (b"", "model.keras", False),
    ],
)
def test_accepts(head, name, accepted):
    assert Keras().accepts(head, name) is accepted
