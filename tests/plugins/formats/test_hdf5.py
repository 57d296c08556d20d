from __future__ import annotations

import random
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from tests.index_packages import wheel_member
from tests.memory_file import MemoryFile
from tests.plugins.formats.hdf5_files import HOSTILE, LAYERS, endless_heap, hdf5_bytes, write_model, write_numbered
from tests.untrusted_files.reading import BytesFile
from tests.untrusted_files.reading import index as index_file

from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.jail import Jail
from filterzoo.layers.normalise import read
from filterzoo.layers.selection import select
from filterzoo.layers.stored import TensorReader
from filterzoo.plugins import load, only_formats, references
from filterzoo.records import Context, FileFacts, Kind, Layout, Tensor
from filterzoo_plugins.formats.keras.hdf5 import Hdf5

CONVOLUTIONS = [
    # layer, layout, kind, groups, stride, dilation, padding
    ("stem", Layout.K_IO, Kind.CONV, 1, (2, 2), (1, 1), None),
    ("dw", Layout.K_IM, Kind.DEPTHWISE, 6, (1, 1), (1, 1), (1, 1, 1, 1)),
    ("a_separable", Layout.K_IM, Kind.DEPTHWISE, 12, (2, 2), (1, 1), (0, 0, 0, 0)),
    ("a_separable", Layout.K_IO, Kind.CONV, 1, (1, 1), (1, 1), (0, 0, 0, 0)),
    ("grouped", Layout.K_IO, Kind.GROUPED, 2, (1, 1), (2, 2), (2, 2, 2, 2)),
    ("up", Layout.K_OI, Kind.TRANSPOSED, 1, (2, 2), (1, 1), None),
    ("volume", Layout.K_IO, Kind.CONV, 1, (1, 1, 1), (1, 1, 1), (0, 0, 0, 0, 0, 0)),
    ("causal", Layout.K_IO, Kind.CONV, 1, (1,), (1,), (2, 0)),
]


def described(tensor: Tensor) -> tuple[Any, ...]:
    found = tensor.convolution
    assert found is not None
    assert found.context is Context.DECLARED
    return tensor.layout, found.kind, found.groups, found.stride, found.dilation, found.padding


def index(data: bytes) -> list[Tensor]:
    return list(Hdf5().index(MemoryFile(data)))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"chunks": True},
        {"chunks": True, "compression": "gzip"},
        {"chunks": True, "shuffle": True},
        {"chunks": True, "shuffle": True, "compression": 9},
    ],
)
def test_every_array_of_a_keras_model_equals_what_h5py_reads(how, tmp_path):
    path = tmp_path / "model.h5"
    write_model(path, LAYERS, **how)
    with LocalFile(path) as file, h5py.File(path) as reference, TensorReader(file) as reader:
        tensors = list(Hdf5().index(file))
        assert len(tensors) == sum(len(layer.variables) for layer in LAYERS)
        for tensor in tensors:
            assert reader.read(tensor).tobytes() == reference[f"model_weights/{tensor.name}"][()].tobytes()
        assert Hdf5().facts(file) == FileFacts("keras")


def test_its_library_is_loaded_in_the_jail_from_the_first_such_file_on(tmp_path):
    """It takes as long to start as all the rest of the jail, and few checkpoints are HDF5."""
    write_model(tmp_path / "model.h5", LAYERS)
    with Jail(load(references(), only_formats).format_references) as jail, LocalFile(tmp_path / "model.h5") as file:
        before = jail.process_id
        assert "h5py" not in Path(f"/proc/{before}/maps").read_text()
        for _ in range(2):
            assert jail.index(file, "model.h5").format == "hdf5"
            assert "h5py" in Path(f"/proc/{jail.process_id}/maps").read_text()
        assert jail.process_id != before


HOWS = [
    {name: value for name, value in zip(("compression", "shuffle", "fletcher32"), values, strict=True) if value}
    for values in product(["gzip", "lzf", None], [True, False], [True, False])
]


@pytest.mark.parametrize("how", HOWS, ids=str)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8", "<f2"])
def test_every_filter_and_byte_order_equals_what_h5py_reads(how, dtype):
    """The first array compresses well, the second not at all (then h5py leaves lzf out), the third has large chunks."""
    dice = np.random.default_rng(4)
    arrays = [np.arange(216.0).reshape(3, 3, 4, 6) // 9, dice.normal(size=(3, 3, 4, 6)), np.ones((3, 3, 60, 60))]

    def write(file):
        for number, array in enumerate(arrays):
            file.create_dataset(
                f"conv_{number}/kernel", data=array.astype(dtype), chunks=(3, 2, *array.shape[2:]), **how
            )

    file = MemoryFile(hdf5_bytes(write))
    with TensorReader(file) as reader:
        for tensor, array in zip(Hdf5().index(file), arrays, strict=True):
            found = read(tensor, reader)
            assert (found.dtype, found.shape) == (np.dtype(f"<{dtype[1:]}"), array.shape)
            assert np.array_equal(found, array.astype(dtype))
    assert len(select(list(Hdf5().index(file)))) == 3


def test_big_endian_numbers_in_one_piece():
    array = np.random.default_rng(4).normal(size=(3, 3, 4, 6)).astype(">f4")
    file = MemoryFile(hdf5_bytes(lambda opened: opened.create_dataset("conv/kernel", data=array)))
    with TensorReader(file) as reader:
        (tensor,) = Hdf5().index(file)
        assert np.array_equal(read(tensor, reader), array)


def test_a_wrong_checksum_is_damage():
    array = np.random.default_rng(4).normal(size=(3, 3, 4, 6)).astype("<f4")
    data = hdf5_bytes(lambda opened: opened.create_dataset("conv/kernel", data=array, chunks=True, fletcher32=True))
    at = data.index(array.tobytes()[:16])
    file = MemoryFile(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    (tensor,) = Hdf5().index(file)
    with TensorReader(file) as reader, pytest.raises(Refused, match="checksum") as caught:
        read(tensor, reader)
    assert caught.value.reason is Reason.DAMAGED


def test_lossy_and_foreign_filters_are_refused_by_name():
    array = np.arange(216.0, dtype="f4").reshape(3, 3, 4, 6)
    data = hdf5_bytes(lambda opened: opened.create_dataset("conv/kernel", data=array, chunks=True, scaleoffset=2))
    with pytest.raises(Refused, match="scale-offset") as caught:
        index(data)
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.parametrize("how", [{"dtype": "longdouble"}, {"chunks": True, "scaleoffset": 2}], ids=str)
def test_only_a_kernel_that_cannot_be_read_is_left_out(how):
    def write(opened):
        opened["a/kernel"] = np.ones((3, 3, 3, 8), "f4")
        opened.create_dataset("b/kernel", data=np.ones((3, 3, 8, 4), "f4"), **how)
        opened.create_dataset("labels", (2,), dtype=h5py.ref_dtype)

    found = index_file(BytesFile(hdf5_bytes(write)), "x.h5")
    assert [tensor.name for tensor in found.convolutions] == ["a/kernel"]
    assert [left.name for left in found.left_out] == ["b/kernel"]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u2", "i4", "u8"])
@pytest.mark.parametrize("chunks", [(2, 2, 3, 4), (3, 3, 5, 7), (1, 3, 5, 2)])
def test_chunks_that_do_not_divide_the_shape(dtype, chunks):
    array = np.random.default_rng(0).integers(-99, 99, size=(3, 3, 5, 7)).astype(dtype)
    data = hdf5_bytes(
        lambda file: file.create_dataset("x", data=array, chunks=chunks, shuffle=True, compression="gzip")
    )
    file = MemoryFile(data)
    with TensorReader(file) as reader:
        (tensor,) = Hdf5().index(file)
        assert np.array_equal(reader.read(tensor), array)


def test_chunks_never_written_are_zeros():
    def write(file):
        file.create_dataset("x", (4, 6), "f4", chunks=(2, 3))[:2, 3:] = 5

    file = MemoryFile(hdf5_bytes(write))
    with TensorReader(file) as reader:
        (tensor,) = Hdf5().index(file)
        assert [record.length for record in tensor.stored_in] == [0, 24, 0, 0]
        assert reader.read(tensor).sum() == 30


@pytest.mark.parametrize(
    "dtype", ["bfloat16", {"class_name": "DTypePolicy", "config": {"name": "bfloat16"}}, "float32"]
)
def test_opaque_numbers_are_what_the_configuration_says(dtype, tmp_path):
    """`model.save("x.h5")` of Keras 3 marks no bfloat16; HDF5 has no such type."""
    kernel = np.arange(36, dtype="<u2").view("V2").reshape(3, 3, 1, 4)
    stem = replace(LAYERS[1], variables={"kernel": kernel}, config={"name": "stem", "dtype": dtype})
    write_model(tmp_path / "x.h5", [stem])
    data = (tmp_path / "x.h5").read_bytes()
    if dtype == "float32":
        with pytest.raises(Refused, match="opaque values of 2 bytes"):
            index(data)
    else:
        (tensor,) = index(data)
        assert (tensor.dtype, tensor.shape, tensor.layout) == ("BF16", (3, 3, 1, 4), Layout.K_IO)
        assert MemoryFile(data).read(tensor.span.offset, tensor.span.length) == kernel.tobytes()


def test_bfloat16_as_keras_3_marks_it():
    bits = np.arange(36, dtype="<u2").reshape(3, 3, 2, 2)

    def write(file):
        file.create_dataset("layers/conv2d/vars/0", data=bits.view("V2")).attrs["dtype"] = "bfloat16"

    file = MemoryFile(hdf5_bytes(write))
    with TensorReader(file) as reader:
        (tensor,) = Hdf5().index(file)
        assert tensor.dtype == "BF16"
        assert np.array_equal(reader.read(tensor), bits)


@pytest.mark.parametrize("suffix", [":0", ""])
def test_convolutions_are_described_by_the_configuration(suffix, tmp_path):
    path = tmp_path / "model.h5"
    write_model(path, LAYERS, suffix=suffix)
    with LocalFile(path) as file:
        found = [tensor for tensor in Hdf5().index(file) if tensor.convolution]
    assert [(tensor.name.partition("/")[0], *described(tensor)) for tensor in found] == CONVOLUTIONS


def test_without_a_configuration_names_decide_the_axes(tmp_path):
    layers = [layer for layer in LAYERS if layer.name not in {"causal", "up"}]
    path = tmp_path / "weights.h5"
    write_model(path, layers, config=False)
    with LocalFile(path) as file:
        found = {tensor.name: tensor for tensor in select(list(Hdf5().index(file)))}
    assert {name: described(tensor)[:3] for name, tensor in found.items()} == {
        "stem/stem/kernel:0": (Layout.K_IO, Kind.CONV, 1),
        "dw/dw/depthwise_kernel:0": (Layout.K_IM, Kind.DEPTHWISE, 6),
        "a_separable/a_separable/depthwise_kernel:0": (Layout.K_IM, Kind.DEPTHWISE, 12),
        "a_separable/a_separable/pointwise_kernel:0": (Layout.K_IO, Kind.CONV, None),
        "grouped/grouped/kernel:0": (Layout.K_IO, Kind.CONV, None),
        "volume/volume/kernel:0": (Layout.K_IO, Kind.CONV, None),
    }


def test_keras_3_weights_without_configuration_in_the_order_of_writing(tmp_path):
    path = tmp_path / "model.weights.h5"
    write_numbered(path, LAYERS)
    with LocalFile(path) as file, h5py.File(path) as reference, TensorReader(file) as reader:
        tensors = list(Hdf5().index(file))
        assert not [tensor.name for tensor in tensors if "optimizer" in tensor.name]
        for tensor in tensors:
            assert reader.read(tensor).tobytes() == reference[tensor.name][()].tobytes()
        assert Hdf5().facts(file) == FileFacts("keras")
    found = [tensor for tensor in tensors if tensor.convolution]
    assert [tensor.name for tensor in found] == [
        "layers/conv2d/vars/0",
        "layers/depthwise_conv2d/vars/0",
        "layers/separable_conv2d/vars/0",
        "layers/separable_conv2d/vars/1",
        "layers/conv2d_1/vars/0",
        "layers/conv2d_transpose/vars/0",
        "layers/conv3d/vars/0",
        "layers/conv1d/vars/0",
    ]
    assert [described(tensor)[0] for tensor in found] == [expected[1] for expected in CONVOLUTIONS]
    assert described(found[4]) == (Layout.K_IO, Kind.CONV, None, None, None, None)


def test_plain_data_sets_and_soft_links():
    def write(file):
        file["b/conv/kernel"] = np.zeros((3, 3, 1, 2), "f4")
        file["a/attention/kernel"] = np.zeros((4, 2, 3), "f4")
        file["a/tied"] = h5py.SoftLink("/b/conv/kernel")
        file["a/cycle"] = file["a"]
        file["text"] = "not a number"

    tensors = {tensor.name: tensor for tensor in index(hdf5_bytes(write))}
    assert set(tensors) == {"b/conv/kernel", "a/attention/kernel", "a/tied"}
    assert [(each.name, each.layout) for each in select(list(tensors.values()))[:1]] == [("b/conv/kernel", Layout.K_IO)]
    assert tensors["a/tied"].span == tensors["b/conv/kernel"].span


@pytest.mark.parametrize("wrong", HOSTILE)
def test_refused(wrong):
    data, reason = HOSTILE[wrong]
    with pytest.raises(Refused) as refusal:
        index(data)
    assert refusal.value.reason is reason
    assert len(str(refusal.value)) < 400


@pytest.mark.timeout(20)
def test_a_heap_that_libhdf5_would_walk_for_ever_is_refused():
    with pytest.raises(Refused) as refusal:
        index(endless_heap())
    assert refusal.value.reason is Reason.MALFORMED
    assert "heap" in refusal.value.detail


@pytest.mark.parametrize(
    ("head", "accepted"),
    [
        (hdf5_bytes(lambda file: file.create_group("a")), True),
        (bytes(512) + hdf5_bytes(lambda file: file.create_group("a")), False),
        (b"\x89HDF", False),
        (b"", False),
    ],
)
def test_accepts(head, accepted):
    assert Hdf5().accepts(head[:4096], "model.h5") is accepted


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_damage_is_refused_or_read_and_nothing_else_is_raised(tmp_path):
    path = tmp_path / "model.weights.h5"
    write_numbered(path, LAYERS)
    good = path.read_bytes()
    dice = random.Random(0)
    refused = 0
    for _ in range(600):
        data = bytearray(good)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.choice([0, 255, dice.randrange(256)])
        try:
            index(bytes(data))
        except Refused:
            refused += 1
    assert 50 < refused < 600


@pytest.mark.index
def test_a_brain_segmenter_of_keras_2():
    path = wheel_member("rbm", "0.0.3", "rbm/scripts/rat_brain-2d_unet.hdf5")
    with LocalFile(path) as file, h5py.File(path) as reference, TensorReader(file) as reader:
        tensors = list(Hdf5().index(file))
        found = [tensor for tensor in tensors if tensor.convolution]
        for tensor in found:
            assert reader.read(tensor).tobytes() == reference[f"model_weights/{tensor.name}"][()].tobytes()
    three = [tensor for tensor in found if tensor.shape[:2] == (3, 3)]
    assert (len(found), len(three)) == (24, 19)
    assert sum(tensor.shape[2] * tensor.shape[3] for tensor in three) == 241_760
    assert found[0].name == "conv1_1/conv1_1/kernel:0"
    assert found[-1].name == "score/score/kernel:0"
