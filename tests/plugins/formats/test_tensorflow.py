from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.plugins.formats.onnx_files import message, varint
from tests.plugins.formats.tensorflow_files import (
    HEADER,
    WEIGHT,
    bundle,
    call,
    const,
    conv,
    entry,
    function,
    graph_def,
    hostile,
    node,
    old_checkpoint,
    one_conv,
    one_variable,
    placeholder,
    saved_model,
    shape_of,
    table,
)
from tests.program import PROGRAM
from tests.tiers import fast_only
from tests.untrusted_files.archive_cases import regular, tar, zipped
from tests.untrusted_files.reading import BytesFile, Read, index, indexer, layers

from filterzoo.errors import Refused
from filterzoo.jail.indexing import IndexRequest
from filterzoo.jail.messages import Message
from filterzoo.records import Context, Kind
from filterzoo_plugins.encodings.protobuf import decode_varint
from filterzoo_plugins.encodings.sorted_table import crc32c
from filterzoo_plugins.formats.tensorflow import filterzoo_formats
from filterzoo_plugins.formats.tensorflow.checkpoint import TensorFlowCheckpoint
from filterzoo_plugins.formats.tensorflow.model import TensorFlowGraph

DICE = np.random.default_rng(1)


def numbers(*shape: int) -> np.ndarray:
    return DICE.normal(size=shape).astype("f4")


def found(content: bytes, name: str, sides: dict[str, bytes] | None = None) -> dict[str, Read]:
    file = BytesFile(content, sides)
    return {read.name: read for read in layers(file, index(file, name))}


def of_checkpoint(arrays: dict[str, np.ndarray], names: dict[str, str] | None = None, **changed) -> dict[str, Read]:
    content, data = bundle(arrays, names, **changed)
    return found(content, "a.ckpt.index", {"a.ckpt.data-00000-of-00001": data})


def of_graph(*nodes: bytes, functions=()) -> dict[str, Read]:
    return found(graph_def(*nodes, functions=functions), "frozen.pb")


def of_saved_model(model: bytes, content: bytes, data: bytes) -> dict[str, Read]:
    sides = {"variables/variables.index": content, "variables/variables.data-00000-of-00001": data}
    return found(model, "saved_model.pb", sides)


def canonical(kernel: np.ndarray) -> np.ndarray:
    """(*kernel, in, out) -> (out, in, *kernel)."""
    return np.moveaxis(kernel, (-1, -2), (0, 1))


def test_the_checksum_is_that_of_rfc_3720():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA


@pytest.mark.parametrize("split", [1, 2, 1 << 30])
def test_a_checkpoint_holds_what_its_index_says(split):
    arrays = {f"block/conv_{n}/weights": numbers(3, 3, 4, 4) for n in range(9)}
    arrays |= {f"block/conv_{n}/biases": numbers(4) for n in range(9)}
    layers_ = of_checkpoint(arrays, split=split)
    assert len(layers_) == 9
    assert all(np.array_equal(read.weights, canonical(arrays[name])) for name, read in layers_.items())


def test_an_old_checkpoint_is_one_file():
    arrays = {"conv1/weights": numbers(5, 5, 3, 8), "conv1/biases": numbers(8), "fc/weights": numbers(8, 10)}
    ((name, read),) = found(old_checkpoint(arrays), "resnet.ckpt").items()
    assert name == "conv1/weights"
    assert np.array_equal(read.weights, canonical(arrays[name]))


def test_variables_are_called_as_the_objects_call_them():
    arrays = {f"layer/{n}/kernel/.ATTRIBUTES/VARIABLE_VALUE": numbers(3, 3, 4, 4) for n in range(3)}
    keys = list(arrays)
    names = {keys[0]: "stem/kernel", keys[1]: "twice/kernel", keys[2]: "twice/kernel"}
    assert list(of_checkpoint(arrays, names)) == ["stem/kernel", "layer/1/kernel", "layer/2/kernel"]


def test_what_an_optimiser_keeps_is_no_layer():
    keys = {
        "optimizer/_momentums/0/.ATTRIBUTES/VARIABLE_VALUE": "adam/stem_kernel_momentum",
        "optimizer/_trainable_variables/0/.ATTRIBUTES/VARIABLE_VALUE": "stem/kernel",
        "model/up/kernel/.ATTRIBUTES/VARIABLE_VALUE": "up/kernel",
        "model/up/kernel/.OPTIMIZER_SLOT/optimizer/m/.ATTRIBUTES/VARIABLE_VALUE": "Adam/up/kernel/m",
    }
    assert sorted(of_checkpoint({key: numbers(3, 3, 4, 4) for key in keys}, keys)) == ["stem/kernel", "up/kernel"]


@pytest.mark.parametrize(("last", "bias"), [("depthwise_weights", None), ("depthwise_kernel", None), ("kernel", 12)])
def test_depthwise_kernels_are_recognised_by_name_or_by_a_bias_for_each_pair(last, bias):
    kernel = numbers(3, 3, 6, 2)
    arrays = {"stem/kernel": numbers(3, 3, 3, 6), f"dw/{last}": kernel, "next/kernel": numbers(1, 1, 12, 4)}
    arrays |= {"dw/bias": numbers(bias)} if bias else {}
    read = of_checkpoint(arrays)[f"dw/{last}"]
    assert read.tensor.convolution.kind is Kind.DEPTHWISE
    assert np.array_equal(read.weights, kernel.transpose(2, 3, 0, 1).reshape(12, 1, 3, 3))


def test_only_a_variable_in_slices_is_left_out():
    sliced = entry(WEIGHT, 0) + message(7, b"")
    entries = [(b"", HEADER), (b"a/kernel", entry(WEIGHT, 0)), (b"b/kernel", sliced)]
    file = BytesFile(table(entries), {"a.data-00000-of-00001": WEIGHT.tobytes()})
    read = index(file, "a.index")
    assert [tensor.name for tensor in read.convolutions] == ["a/kernel"]
    assert [(left.name, left.detail) for left in read.left_out] == [("b/kernel", "a variable that is stored in slices")]


def test_a_frozen_graph_says_what_its_convolution_does():
    read = found(one_conv(strides=(1, 2, 3, 1), dilations=(1, 4, 5, 1), padding="VALID"), "frozen.pb")["w"]
    described = read.tensor.convolution
    assert np.array_equal(read.weights, canonical(WEIGHT))
    assert (described.kind, described.context, described.groups) == (Kind.CONV, Context.GRAPH, 1)
    assert (described.stride, described.dilation, described.padding) == ((2, 3), (4, 5), (0, 0, 0, 0))


def test_channels_first_moves_strides_and_padding_not_the_weight():
    changed = {"data_format": "NCHW", "strides": (1, 1, 2, 3), "padding": "EXPLICIT"}
    read = found(one_conv(**changed, explicit_paddings=(0, 0, 0, 0, 1, 2, 3, 4)), "frozen.pb")["w"]
    assert (read.tensor.convolution.stride, read.tensor.convolution.padding) == ((2, 3), (1, 3, 2, 4))
    assert np.array_equal(read.weights, canonical(WEIGHT))


def test_depthwise_and_transposed_ones_have_their_own_order():
    deep, up = numbers(3, 3, 4, 2), numbers(4, 4, 5, 8)
    read = of_graph(
        placeholder(), const("sizes", np.array([1, 9, 9, 5], "i4")), const("w", WEIGHT), const("d", deep),
        const("u", up), conv("c", "x", "w"), conv("dw", "c", "d", "DepthwiseConv2dNative"),
        conv("up", "dw", "u", "Conv2DBackpropInput"),
    )  # fmt: skip
    assert np.array_equal(read["d"].weights, deep.transpose(2, 3, 0, 1).reshape(8, 1, 3, 3))
    assert np.array_equal(read["u"].weights, up.transpose(2, 3, 0, 1))
    assert [read[name].tensor.convolution.kind for name in "wdu"] == [Kind.CONV, Kind.DEPTHWISE, Kind.TRANSPOSED]
    assert [read[name].tensor.convolution.depth for name in "wdu"] == [1, 2, 3]


def test_volumes():
    kernel = numbers(2, 3, 4, 3, 5)
    read = of_graph(placeholder(shape=(1, 8, 8, 8, 3)), const("w", kernel), conv("c", "x", "w", "Conv3D"))["w"]
    assert np.array_equal(read.weights, canonical(kernel))


def test_fewer_inputs_than_channels_make_groups():
    kernel = numbers(3, 3, 2, 8)
    read = of_graph(placeholder(), const("w", WEIGHT), const("g", kernel), conv("c", "x", "w"), node("r", "Relu", "c"),
                    conv("c2", "r", "g"))["g"]  # fmt: skip
    assert (read.tensor.convolution.kind, read.tensor.convolution.groups) == (Kind.GROUPED, 2)


def test_a_convolution_between_space_to_batch_is_dilated():
    read = of_graph(
        placeholder(), const("w", WEIGHT), const("block", np.array([2, 3], "i4"), as_list=True),
        const("pads", np.zeros((2, 2), "i4")), node("s", "SpaceToBatchND", "x", "block", "pads"),
        conv("c", "s", "w", padding="VALID"), node("b", "BatchToSpaceND", "c", "block", "pads"),
    )["w"]  # fmt: skip
    assert (read.tensor.convolution.dilation, read.tensor.convolution.padding) == ((2, 3), None)


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2"])
def test_numbers_of_every_type_as_bytes_and_as_lists(dtype, as_list):
    kernel = numbers(3, 3, 3, 4).astype(dtype)
    read = of_graph(placeholder(), const("w", kernel, as_list=as_list), conv("c", "x", "w"))["w"]
    assert np.array_equal(read.weights, canonical(kernel).astype("f4"))


def test_weights_that_are_computed_from_constants():
    scale = numbers(4)
    read = of_graph(
        placeholder(), const("w", WEIGHT), const("s", scale), node("m", "Mul", "w", "s"), node("i", "Identity", "m"),
        conv("c", "x", "i"),
    )["w"]  # fmt: skip
    assert np.array_equal(read.weights, canonical(WEIGHT * scale))


@pytest.mark.parametrize(
    ("begin", "end", "step", "masks", "part"),
    [
        ([0, 1], [2, 0], [1, 2], {"end_mask": 2}, np.s_[0:2, 1::2]),
        ([0, 0, 1], [0, 0, 3], [1, 1, 1], {"new_axis_mask": 1, "shrink_axis_mask": 2}, np.s_[None, 0, 1:3]),
        (
            [-1, 0, -2],
            [0, 2, 0],
            [1, 1, 1],
            {"shrink_axis_mask": 1, "begin_mask": 2, "end_mask": 4},
            np.s_[-1, :2, -2:],
        ),
    ],
)
def test_parts_of_constants(begin, end, step, masks, part):
    stored = numbers(3, 5, 6, 4, 2)
    expected = stored[part]
    rank = expected.ndim - 2
    content = graph_def(
        placeholder(shape=(-1, 8, 8, 8, 8)), const("w", stored), const("b", np.array(begin, "i4")),
        const("e", np.array(end, "i4")), const("s", np.array(step, "i4")),
        node("p", "StridedSlice", "w", "b", "e", "s", **{key: integer(mask) for key, mask in masks.items()}),
        conv("c", "x", "p", "Conv2D" if rank == 2 else "Conv3D"),
    )  # fmt: skip
    ((_, read),) = found(content, "frozen.pb").items()
    assert np.array_equal(read.weights, canonical(expected))


def integer(value: int) -> bytes:
    """An attribute that is a whole number."""
    return varint(3 << 3) + varint(value)


def test_a_sequence_is_a_plane_one_high():
    kernel = numbers(5, 3, 4)
    read = of_graph(
        placeholder(), const("w", kernel), const("axis", np.array(0, "i4"), as_list=True),
        node("e", "ExpandDims", "w", "axis"), conv("c", "x", "e"),
    )["w"]  # fmt: skip
    assert np.array_equal(read.weights, canonical(kernel[None]))


def test_a_weight_made_at_run_time_is_no_layer():
    assert of_graph(placeholder(), const("w", WEIGHT), conv("c", "x", "w"), conv("d", "c", "x")).keys() == {"w"}


def test_a_saved_model_leads_to_its_variables():
    """The handle, the key and the argument have three names: only the functions say which is which."""
    ((_, read),) = of_saved_model(*one_variable(strides=(1, 2, 2, 1))).items()
    assert np.array_equal(read.weights, canonical(WEIGHT))
    assert (read.tensor.convolution.stride, read.tensor.convolution.depth) == ((2, 2), 1)


def test_variables_of_the_first_tensorflow_are_read_by_name():
    arrays = {"conv/weights": WEIGHT}
    graph = graph_def(
        placeholder(), node("conv/weights", "VariableV2", shape=message(7, shape_of(WEIGHT.shape))),
        node("conv/weights/read", "Identity", "conv/weights"), conv("c", "x", "conv/weights/read"),
    )  # fmt: skip
    assert np.array_equal(
        of_saved_model(saved_model(graph, ["c:0"]), *bundle(arrays))["conv/weights"].weights, canonical(WEIGHT)
    )


def test_what_no_signature_reaches_is_no_layer():
    """A gradient reads the weight of a convolution as a transposed one does."""
    graph = graph_def(
        placeholder(), const("sizes", np.array([1, 9, 9, 3], "i4")), const("w", WEIGHT), conv("c", "x", "w"),
        conv("gradient", "c", "w", "Conv2DBackpropInput"),
    )  # fmt: skip
    read = found(saved_model(graph, ["c:0"]), "saved_model.pb")
    assert [each.tensor.convolution.kind for each in read.values()] == [Kind.CONV]


def test_one_network_with_two_signatures_counts_once():
    network = function("f", ["a", "w"], {"y": "c:output:0"}, conv("c", "a", "w"))
    graph = graph_def(
        placeholder(), placeholder("z"), const("w", WEIGHT), call("one", "f", "x", "w"), call("two", "f", "z", "w"),
        functions=[network],
    )  # fmt: skip
    output = message(1, b"o") + message(2, message(1, b"two:0"))
    second = message(5, message(1, b"other") + message(2, message(2, output)))
    both = b"\x08\x01" + message(2, _meta(saved_model(graph, ["one:0"])) + second)
    assert len(index(BytesFile(both), "saved_model.pb").convolutions) == 1


def _meta(model: bytes) -> bytes:
    """The MetaGraphDef of a SavedModel."""
    length, at = decode_varint(model, 3)
    return model[at : at + length]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_saved_model_is_read_in_its_archive(kind):
    model, content, data = one_variable()
    members = {
        "net/saved_model.pb": model,
        "net/variables/variables.data-00000-of-00001": data,
        "net/variables/variables.index": content,
        "net/assets/words.txt": b"none",
    }
    packed = zipped(*members.items()) if kind == "zip" else tar(*(regular(*member) for member in members.items()))
    ((name, read),) = found(packed, f"net.{kind}").items()
    assert np.array_equal(read.weights, canonical(WEIGHT))
    assert name


def test_the_model_of_an_archive_is_named_without_the_point_of_tar():
    packed = tar(regular("./a/frozen.pb", one_conv()), regular("./b/frozen.pb", one_conv()))
    with pytest.raises(Refused, match="2 model files"):
        index(BytesFile(packed), "net.tar")
    message_, _ = indexer().answer(BytesFile(packed), IndexRequest("net.tar", "b/frozen.pb"))
    assert message_ is Message.TABLE


def test_the_checksum_of_a_member_beside_the_model_is_compared():
    model, content, data = one_variable()
    side = "variables/variables.data-00000-of-00001"
    packed = zipped(("saved_model.pb", model), ("variables/variables.index", content), (side, data))
    broken = packed.replace(data[:8], b"12345678")
    with pytest.raises(Refused, match="CRC-32"):
        found(broken, "net.zip")


HOSTILE: dict[str, Any] = {label: case for label, *case in hostile()}


@pytest.mark.parametrize("label", fast_only(HOSTILE.keys() - {"calls that double"}, HOSTILE))
def test_hostile_files_are_refused_with_the_reason(label):
    name, content, sides, reason, what = HOSTILE[label]
    with pytest.raises(Refused) as refusal:
        found(content, name, sides)
    assert (str(refusal.value.reason), what in str(refusal.value)) == (reason, True), str(refusal.value)


def test_both_formats_are_offered():
    assert [type(each) for each in filterzoo_formats()] == [TensorFlowCheckpoint, TensorFlowGraph]


@pytest.mark.parametrize(("limits", "code"), [("-Sn 64", 0), ("-n 64", 2)])
def test_more_data_files_than_may_be_open_are_no_fault_of_the_checkpoint(tmp_path: Path, limits: str, code: int):
    """The soft limit is raised; a hard one is a limit, not a malformed file."""
    weights = numbers(3, 3, 2, 2)
    shards = [(f"{number:03}".encode(), entry(weights, 0, shard=number)) for number in range(200)]
    (tmp_path / "a.index").write_bytes(table([(b"", varint(8) + varint(200) + HEADER[2:]), *shards]))
    for number in range(200):
        (tmp_path / f"a.data-{number:05}-of-00200").write_bytes(weights.tobytes())
    command = f'ulimit {limits} && exec "$0" inspect "$1"'
    ran = subprocess.run(
        ["bash", "-c", command, PROGRAM, tmp_path / "a.index"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, "refused: limit" in ran.stdout + ran.stderr) == (code, code == 2)
