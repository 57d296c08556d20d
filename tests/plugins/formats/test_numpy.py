from __future__ import annotations

import pickle
import random
from io import BytesIO

import numpy as np
import pytest
from tests.memory_file import MemoryFile
from tests.plugins.formats.numpy_files import HOSTILE_NPY, HOSTILE_NPZ, npy_bytes, npy_header, npz_bytes
from tests.untrusted_files.reading import BytesFile
from tests.untrusted_files.reading import index as index_file
from tests.untrusted_files.reading import read as read_file

from filterzoo.errors import Reason, Refused
from filterzoo.files import LocalFile
from filterzoo.layers.normalise import read
from filterzoo.layers.selection import select
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Kind, Layout
from filterzoo_plugins.formats.numpy import Npy, Npz


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(0)
    return {
        "root_block/conv/kernel": numbers.normal(size=(3, 3, 4, 8)).astype("f4"),
        "layer.0.weight": np.asfortranarray(numbers.normal(size=(4, 3, 3, 3)).astype("f4")),
        "view": numbers.normal(size=(6, 5)).astype("f8")[::2, ::-1],
        "half": numbers.normal(size=(2, 2)).astype("f2"),
        "scalar": np.array(7, "i8"),
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 3), "f4"),
        "complex": np.ones(3, "c8"),
        "bytes": np.arange(6, dtype="u1"),
        "names": np.array(["a", "bc"]),
    }


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_array_equals_what_numpy_reads(save, arrays, tmp_path):
    path = tmp_path / "weights.npz"
    save(path, **arrays)
    with LocalFile(path) as file, np.load(path) as reference, TensorReader(file) as reader:
        assert Npz().accepts(file.read(0, 500), "any name")
        tensors = list(Npz().index(file))
        assert [tensor.name for tensor in tensors] == [name for name in arrays if name != "names"]
        for tensor in tensors:
            array = reader.read(tensor)
            assert array.dtype == reference[tensor.name].dtype
            assert array.shape == reference[tensor.name].shape
            assert array.tobytes() == reference[tensor.name].tobytes()
        assert reader.has_crc


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_a_bare_array_equals_what_numpy_reads(order, version):
    array = np.asarray(np.random.default_rng(0).normal(size=(4, 3, 3)), order=order)
    stream = BytesIO()
    np.lib.format.write_array(stream, array, version=version)
    file = MemoryFile(stream.getvalue())
    with TensorReader(file) as reader:
        (tensor,) = Npy().index(file)
        assert tensor.name == "array"
        assert np.array_equal(reader.read(tensor), array)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">c8"])
def test_big_endian_arrays_equal_what_numpy_reads(order, dtype, tmp_path):
    array = np.asarray(100 * np.random.default_rng(0).normal(size=(4, 3, 3, 3)), dtype, order=order)
    np.savez_compressed(tmp_path / "x.npz", **{"a.weight": array, "b": np.zeros(2)})  # type: ignore[arg-type]  # NumPy's types know no names of arrays
    with LocalFile(tmp_path / "x.npz") as file, TensorReader(file) as reader:
        assert np.array_equal(read(next(Npz().index(file)), reader), array)


def test_a_header_as_python_2_wrote_it():
    (tensor,) = Npy().index(MemoryFile(npy_bytes(npy_header(shape="(3L, 3L)"))))
    assert tensor.shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "shape", "layout", "kind"),
    [
        ("resnet/block1/unit01/a/standardized_conv2d/kernel", (1, 1, 2, 3), Layout.K_IO, Kind.CONV),
        ("embedding/kernel", (2, 2, 3, 4), Layout.K_IO, Kind.CONV),
        ("stem/conv1d/kernel", (3, 2, 4), Layout.K_IO, Kind.CONV),
        ("x9q_W", (3, 3, 2, 4), Layout.K_IO, Kind.CONV),
        ("t1/t2/weights", (3, 3, 2, 4), Layout.K_IO, Kind.CONV),
        ("~/w", (3, 3, 2, 4), Layout.K_IO, Kind.CONV),
        ("block/depthwise_conv/depthwise_kernel", (3, 3, 2, 1), Layout.K_IM, Kind.DEPTHWISE),
        ("a1.weight", (4, 2, 3, 3), Layout.OI_K, Kind.CONV),
        ("Transformer/MultiHeadDotProductAttention_1/query/kernel", (8, 2, 4), None, None),
        ("head/kernel", (4, 2), None, None),
        ("images", (4, 2, 3, 3, 3, 3), None, None),
    ],
)
def test_layout_follows_the_shape(name, shape, layout, kind):
    stream = BytesIO()
    np.savez(stream, **{name: np.zeros(shape, "f4")})  # type: ignore[arg-type]  # NumPy's types know no names of arrays
    chosen = select(list(Npz().index(MemoryFile(stream.getvalue()))))
    assert [(each.layout, each.convolution.kind) for each in chosen] == ([] if layout is None else [(layout, kind)])


def test_only_an_array_of_objects_is_left_out():
    stream = BytesIO()
    np.savez(stream, **{"a.weight": np.zeros((8, 3, 3, 3), "f4"), "b": np.array({"c": 1}, dtype=object)})  # type: ignore[arg-type]  # NumPy's types know no names of arrays
    assert [tensor.name for tensor in Npz().index(MemoryFile(stream.getvalue()))] == ["a.weight"]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_arrays_in_an_array_of_objects_are_read(save):
    """A list of weights of different shapes becomes an array of objects."""
    weights = [np.arange(8 * 27, dtype="f4").reshape(8, 3, 3, 3), np.zeros(8, "f4"), np.ones((4, 8, 3, 3), "f4")]
    listed = np.empty(3, dtype=object)
    listed[:] = weights
    stream = BytesIO()
    save(stream, weights=listed, classes=np.array(["cat", "dog"], dtype=object))
    found = read_file(BytesFile(stream.getvalue()), "x.npz")
    assert [each.name for each in found] == ["weights.0", "weights.2"]
    assert all(np.array_equal(each.weights, weight) for each, weight in zip(found, weights[::2], strict=True))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_dictionary_in_an_npy_file_is_read(protocol):
    """As the weights of VGG16 for TensorFlow are kept: {layer: {weights, biases}}, channels last."""
    kernels = {"conv1": np.ones((3, 3, 3, 8), "f4"), "conv2": np.arange(9 * 8 * 4, dtype="f4").reshape(3, 3, 8, 4)}
    value = {name: {"weights": kernel, "biases": np.zeros(kernel.shape[-1], "f4")} for name, kernel in kernels.items()}
    data = npy_bytes(npy_header("'|O'", "()"), pickle.dumps(np.array(value, dtype=object), protocol))
    found = read_file(BytesFile(data), "vgg16.npy")
    assert [each.name for each in found] == ["conv1.weights", "conv2.weights"]
    assert np.array_equal(found[1].weights, kernels["conv2"].transpose(3, 2, 0, 1))


@pytest.mark.parametrize(
    ("odd", "why"),
    [(np.ones((4, 8, 3, 3), "longdouble"), "dtype"), (np.ones((4, 8, 3, 3), [("x", "f4")]), "structures")],
    ids=["a-float-of-16-bytes", "structures"],
)
def test_only_a_weight_that_cannot_be_read_is_left_out(odd, why):
    stream = BytesIO()
    np.savez(stream, **{"a.weight": np.ones((8, 3, 3, 3), "f4"), "b.weight": odd})
    found = index_file(BytesFile(stream.getvalue()), "x.npz")
    assert [tensor.name for tensor in found.convolutions] == ["a.weight"]
    assert [left.name for left in found.left_out] == ["b.weight"]
    assert why in found.left_out[0].detail


def test_arrays_of_objects_and_a_number_are_no_empty_model():
    stream = BytesIO()
    np.savez(stream, classes=np.array(["cat"], dtype=object), epoch=3)
    with pytest.raises(Refused, match="objects"):
        index_file(BytesFile(stream.getvalue()), "x.npz")


@pytest.mark.parametrize("wrong", HOSTILE_NPY)
def test_npy_refused(wrong):
    data, reason = HOSTILE_NPY[wrong]
    with pytest.raises(Refused) as refusal:
        list(Npy().index(MemoryFile(data)))
    assert refusal.value.reason is reason


@pytest.mark.parametrize("wrong", HOSTILE_NPZ)
def test_npz_refused(wrong):
    data, reason = HOSTILE_NPZ[wrong]
    with pytest.raises(Refused) as refusal:
        list(Npz().index(MemoryFile(data)))
    assert refusal.value.reason is reason


def test_a_flipped_bit_is_noticed():
    good = npz_bytes(("w.npy", npy_bytes(data=b"\7" * 36)))
    at = good.index(b"\7" * 36)
    file = MemoryFile(good[:at] + b"\6" + good[at + 1 :])
    with pytest.raises(Refused) as refusal, TensorReader(file) as reader:
        reader.read(*Npz().index(file))
    assert refusal.value.reason is Reason.DAMAGED


@pytest.mark.parametrize(
    ("head", "npy", "npz"),
    [
        (npy_bytes(), True, False),
        (npz_bytes(("w.npy", npy_bytes())), False, True),
        (npz_bytes(("archive/data.pkl", b"")), False, False),
        (b"\x93NUMPX" + bytes(80), False, False),
        (b"PK\3\4", False, False),
        (b"", False, False),
    ],
)
def test_accepts(head, npy, npz):
    assert (Npy().accepts(head, "w.npz"), Npz().accepts(head, "w.npz")) == (npy, npz)


def test_only_heads_of_arrays_are_read():
    members = [(f"{number}.npy", npy_bytes(npy_header(shape="(250000,)"), bytes(1_000_000))) for number in range(3)]
    file = MemoryFile(npz_bytes(*members))
    list(Npz().index(file))
    assert sum(length for _, length in file.reads) < 80_000


def test_damage_is_refused_or_read_and_nothing_else_is_raised(arrays):
    dice = random.Random(0)
    outcomes = set()
    for save in (np.savez, np.savez_compressed):
        stream = BytesIO()
        save(stream, **arrays)
        good = stream.getvalue()
        for _ in range(1000):
            data = bytearray(good)
            for _ in range(dice.randint(1, 4)):
                data[dice.randrange(len(good))] = dice.randrange(256)
            file = MemoryFile(bytes(data))
            try:
                with TensorReader(file) as reader:
                    read = {t.name: reader.read(t).tobytes() for t in Npz().index(file) if t.obstacle is None}
            except Refused as refusal:
                outcomes.add(refusal.reason)
            else:
                outcomes.add("read")  # type: ignore[arg-type]  # of a type that the test knows
                for name, content in read.items():
                    assert content == np.ascontiguousarray(arrays[name]).tobytes()
    assert {"read", Reason.DAMAGED, Reason.MALFORMED, Reason.UNSAFE} <= outcomes


def test_damaged_headers_are_refused_or_read_and_nothing_else_is_raised():
    good = npy_bytes()
    dice = random.Random(0)
    refused = 0
    for _ in range(5000):
        data = bytearray(good)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(good) - 36)] = dice.randrange(256)
        try:
            list(Npy().index(MemoryFile(bytes(data))))
        except Refused:
            refused += 1
    assert 3000 < refused < 5000
