"""Keras weights in shards: equal to the same weights in one file; hostile indexes are refused by name."""

from __future__ import annotations

import json
import tarfile
import zipfile

import h5py
import numpy as np
import pytest
from tests.plugins.formats.hdf5_files import LAYERS, write_numbered, write_shards

import filterzoo
from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.layers.stored import TensorReader
from filterzoo_plugins.formats.keras.hdf5 import Hdf5

_KERNEL = np.arange(72, dtype="f4").reshape(3, 3, 2, 4)
GROUPS = {f"layers/{layer.number}/vars": (layer.name, list(layer.variables.values())) for layer in LAYERS}
SMALL: dict[str, tuple[str, list[np.ndarray]]] = {
    "layers/a/vars": ("conv2d", [_KERNEL, np.zeros(4, "f4")]),
    "layers/b/vars": ("conv2d_1", [_KERNEL + 1]),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model in shards of at most one kernel each, beside the same in one file."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, GROUPS, most=max(array.nbytes for _, arrays in GROUPS.values() for array in arrays))
    write_numbered(folder / "whole.h5", LAYERS)
    return folder


@pytest.fixture(scope="module")
def reader():
    with filterzoo.Reader() as opened:
        yield opened


def layers(file: filterzoo.ModelFile) -> list[tuple[object, ...]]:
    return [(each.name, each.kind, each.shape, each.groups, each.conv_depth, each.layer_id) for each in file.layers]


def test_shards_are_read_as_the_same_weights_in_one_file(folder, reader):
    assert len(list(folder.glob("model_*.weights.h5"))) > 3
    with reader.open(folder / "model.weights.json") as file, reader.open(folder / "whole.h5") as whole:
        assert (file.format, file.framework) == ("hdf5", "keras")
        assert list(file) == list(whole)
        assert all(np.array_equal(file[name], whole[name]) for name in whole)
        assert layers(file) == layers(whole)
        assert len(file.layers) == 8


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_shards_in_an_archive_are_one_model(ending, folder, reader, tmp_path):
    archive = tmp_path / f"model.{ending}"
    files = sorted(path for path in folder.iterdir() if path.name != "whole.h5")
    if ending == "zip":
        with zipfile.ZipFile(archive, "w") as target:
            for path in files:
                target.write(path, f"net/{path.name}")
    else:
        with tarfile.open(archive, "w:gz" if ending == "tar.gz" else "w") as target:
            for path in files:
                target.add(path, f"net/{path.name}")
    with reader.open(archive) as file, reader.open(folder / "whole.h5") as whole:
        assert file.member == "net/model.weights.json"
        assert layers(file) == layers(whole)


def test_a_name_and_a_wrapped_kernel_are_found_across_shards(tmp_path):
    """The class is known from the name that an earlier shard has; a wrapper's copy of a kernel is no layer."""
    kernel = np.ones((2, 2, 4, 6), "f4")
    wrapped = {
        "layers/outer/vars": ("norm", [kernel]),
        "layers/outer/layer/vars": ("conv2d", [kernel]),
        "layers/up/vars": ("conv2d_transpose", [kernel]),
    }
    with LocalFile(write_shards(tmp_path, wrapped, kernel.nbytes)) as file:
        tensors = list(Hdf5().index(file))
    with h5py.File(tmp_path / "model_00002.weights.h5") as shard:
        assert "name" not in shard["layers/up/vars"].attrs
    kinds = {tensor.name: str(tensor.convolution.kind) for tensor in tensors if tensor.convolution is not None}
    assert kinds == {"layers/outer/layer/vars/0": "conv", "layers/up/vars/0": "transposed"}


def test_compressed_shards(tmp_path, reader):
    write_shards(tmp_path, SMALL, _KERNEL.nbytes, chunks=True, compression="gzip", shuffle=True)
    with reader.open(tmp_path / "model.weights.json") as file:
        assert np.array_equal(file["layers/b/vars/0"], _KERNEL + 1)
        assert [layer.kind for layer in file.layers] == ["conv", "conv"]
        assert file.layers[1].weights[3, 1, 2, 0] == _KERNEL[2, 0, 1, 3] + 1


def test_arrays_that_the_index_does_not_name_are_not_the_models(tmp_path):
    index = write_shards(tmp_path, SMALL, 1 << 20)
    text = json.loads(index.read_text())
    del text["weight_map"]["/layers/b/vars"]
    index.write_text(json.dumps(text))
    with LocalFile(index) as file, TensorReader(file) as reader:
        kernel, bias = Hdf5().index(file)
        assert (kernel.name, bias.name) == ("layers/a/vars/0", "layers/a/vars/1")
        assert np.array_equal(reader.read(kernel), _KERNEL)


FIRST, THIRD = "model_00000.weights.h5", "model_00002.weights.h5"


@pytest.mark.parametrize(
    ("weight_map", "reason", "detail"),
    [
        ({"/layers/a/vars": [f"../{FIRST}"]}, Reason.UNSAFE, "plain file name"),
        ({"/layers/a/vars": ["/etc/passwd.weights.h5"]}, Reason.UNSAFE, "plain file name"),
        ({"/layers/a/vars": [f"below/{FIRST}"]}, Reason.UNSAFE, "plain file name"),
        ({"/layers/a/vars": ["model_00007.weights.h5"]}, Reason.MALFORMED, "side file"),
        ({"/layers/c/vars": [FIRST]}, Reason.MALFORMED, "groups are not in their shard"),
        ({"/layers/a/vars": [FIRST, FIRST]}, Reason.MALFORMED, "a shard twice"),
        ({"/layers/a/vars": [FIRST], "/layers/b/vars": [THIRD, "copy.weights.h5"]}, Reason.MALFORMED, "two shards"),
        ({"/layers/a/vars": {"x": FIRST}}, Reason.MALFORMED, "weight_map"),
        ({"/layers/a/vars": []}, Reason.MALFORMED, "weight_map"),
        ({}, Reason.MALFORMED, "names no shards"),
        ({str(number): [f"{number}.weights.h5"] for number in range(10_001)}, Reason.LIMIT, "10001 shards"),
        ({"/layers/a/vars": ["model.weights.json"]}, Reason.MALFORMED, "HDF5 cannot read it"),
    ],
)
def test_refused(weight_map, reason, detail, tmp_path):
    index = write_shards(tmp_path, SMALL, _KERNEL.nbytes)
    (tmp_path / "copy.weights.h5").write_bytes((tmp_path / THIRD).read_bytes())
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    with LocalFile(index) as file, pytest.raises(Refused, match=detail) as refusal:
        list(Hdf5().index(file))
    assert refusal.value.reason is reason


def test_an_index_is_known_by_the_shards_that_it_names():
    head = b'{"metadata": {"total_size": 9}, "weight_map": {"/layers/a/vars": "model_00000.weights.h5"'
    assert Hdf5().accepts(head, "anything.json")
    assert Hdf5().accepts(b'{ "metadata": {}', "model.weights.json")
    assert not Hdf5().accepts(b'{"weight_map": {"a": "1.safetensors"}}', "model.safetensors.index.json")
