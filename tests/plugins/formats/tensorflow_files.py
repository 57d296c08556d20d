"""TensorFlow's files, good ones and hostile ones, written without TensorFlow."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tests.plugins.formats.onnx_files import message, varint

from filterzoo_plugins.encodings.sorted_table import MAGIC, crc32c

TYPES = {"<f4": 1, "<f8": 2, "<i4": 3, "|u1": 4, "<i8": 9, "<f2": 19}
HEADER = b"\x08\x01\x1a\x02\x08\x01"
"""One data file, little-endian, version 1."""


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & (1 << 64) - 1)


def block(entries: Sequence[tuple[bytes, bytes]], *, kind: int = 0, shares: bool = True) -> bytes:
    """A block of a sorted table, with its type and checksum; keys share what they have in common."""
    content, last = b"", b""
    for key, value in entries:
        shared = 0
        while shares and shared < min(len(key), len(last)) and key[shared] == last[shared]:
            shared += 1
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    content += struct.pack("<II", 0, 1)
    return content + bytes([kind]) + struct.pack("<I", masked(crc32c(content + bytes([kind]))))


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def table(entries: Sequence[tuple[bytes, bytes]], *, split: int = 1 << 30, kind: int = 0) -> bytes:
    """A sorted table of blocks of at most `split` entries."""
    data, handles = b"", []
    for at in range(0, len(entries), split):
        part = entries[at : at + split]
        made = block(part, kind=kind)
        handles.append((part[-1][0], varint(len(data)) + varint(len(made) - 5)))
        data += made
    ends = []
    for made in (block([]), block(handles)):
        ends.append(varint(len(data)) + varint(len(made) - 5))
        data += made
    return data + b"".join(ends).ljust(40, b"\0") + MAGIC


def shape_of(shape: Sequence[int]) -> bytes:
    return b"".join(message(2, number(1, side)) for side in shape)


def entry(array: np.ndarray, at: int, *, shape: Sequence[int] | None = None, **changed: int) -> bytes:
    """A BundleEntryProto. changed: type, shard, offset, size."""
    stated = {"type": TYPES[array.dtype.str], "shard": 0, "offset": at, "size": array.nbytes} | changed
    return (
        number(1, stated["type"])
        + message(2, shape_of(array.shape if shape is None else shape))
        + (number(3, stated["shard"]) if stated["shard"] else b"")
        + (number(4, stated["offset"]) if stated["offset"] else b"")
        + number(5, stated["size"])
    )


def objects(names: Mapping[str, str]) -> bytes:
    """A TrackableObjectGraph, as its text is stored: names by key."""
    graph = b"".join(
        message(1, message(2, message(1, b"VARIABLE_VALUE") + message(2, name.encode()) + message(3, key.encode())))
        for key, name in names.items()
    )
    return varint(len(graph)) + struct.pack("<I", 0) + graph


def bundle(
    arrays: Mapping[str, np.ndarray],
    names: Mapping[str, str] | None = None,
    *,
    header: bytes = HEADER,
    split: int = 1 << 30,
    **changed,
) -> tuple[bytes, bytes]:
    """Index and data of a checkpoint. changed: of the entry of every array (`entry`)."""
    data, entries = b"", [(b"", header)]
    for key in sorted(arrays):
        entries.append((key.encode(), entry(arrays[key], len(data), **changed)))
        data += arrays[key].tobytes()
    if names:
        text = objects(names)
        graph = number(1, 7) + message(2, b"") + number(4, len(data)) + number(5, len(text))
        entries.insert(1, (b"_CHECKPOINTABLE_OBJECT_GRAPH", graph))
        data += text
    return table(entries, split=split), data


def old_checkpoint(arrays: Mapping[str, np.ndarray], *, is_whole: bool = True, field: int = 0) -> bytes:
    """The single file of TensorFlow before 1.0."""
    lists = b"".join(
        message(1, message(1, name.encode()) + message(2, shape_of(a.shape)) + number(3, TYPES[a.dtype.str]))
        for name, a in arrays.items()
    )
    extent = message(1, b"" if is_whole else number(1, 0) + number(2, 1))
    entries = [(b"", message(1, lists))]
    for name, array in sorted(arrays.items()):
        proto = message(field or {1: 5, 2: 6}[TYPES[array.dtype.str]], array.tobytes())
        entries.append(
            (b"\0" + name.encode(), message(2, message(1, name.encode()) + message(2, extent) + message(3, proto)))
        )
    return table(entries)


def tensor_proto(array: np.ndarray, *, as_list: bool = False) -> bytes:
    """A TensorProto, its numbers as bytes or in the list of their type."""
    kind = TYPES[array.dtype.str]
    head = number(1, kind) + message(2, shape_of(array.shape))
    if not as_list:
        return head + message(4, array.tobytes())
    if array.dtype.kind == "f" and array.dtype.itemsize > 2:
        return head + message({4: 5, 8: 6}[array.dtype.itemsize], array.tobytes())
    bits = array.view("<u2").ravel() if array.dtype.kind == "f" else array.ravel()
    field = 13 if array.dtype.kind == "f" else {4: 7, 8: 10}[array.dtype.itemsize]
    return head + message(field, b"".join(varint(int(each) & (1 << 64) - 1) for each in bits))


def attribute(key: str, value: object) -> bytes:
    match value:
        case np.ndarray():
            made = message(8, tensor_proto(value))
        case bytes():
            made = value
        case str():
            made = message(2, value.encode())
        case tuple():
            made = message(1, message(3, b"".join(varint(each) for each in value)))
        case _:
            made = number(6, int(value))  # type: ignore[call-overload]  # the argument is one of several words
    return message(5, message(1, key.encode()) + message(2, made))


def node(name: str, operation: str, *inputs: str, **attributes: Any) -> bytes:
    """A NodeDef."""
    head = message(1, name.encode()) + message(2, operation.encode())
    return (
        head
        + b"".join(message(3, each.encode()) for each in inputs)
        + b"".join(attribute(key, value) for key, value in attributes.items())
    )


def const(name: str, array: np.ndarray, *, as_list: bool = False) -> bytes:
    return node(name, "Const", dtype=TYPES[array.dtype.str], value=message(8, tensor_proto(array, as_list=as_list)))


def conv(name: str, data: str, weight: str, operation: str = "Conv2D", **changed: Any) -> bytes:
    ones = (1, 1, 1, 1) if "3D" not in operation else (1, 1, 1, 1, 1)
    stated = {"strides": ones, "dilations": ones, "padding": "SAME", "data_format": "NHWC"} | changed
    inputs = ("sizes", weight, data) if "Backprop" in operation else (data, weight)
    return node(name, operation, *inputs, **stated)


def placeholder(name: str = "x", shape: Sequence[int] = (-1, 8, 8, 3)) -> bytes:
    return node(name, "Placeholder", shape=message(7, shape_of(shape)))


def graph_def(*nodes: bytes, functions: Sequence[bytes] = ()) -> bytes:
    library = message(2, b"".join(message(1, function) for function in functions)) if functions else b""
    return b"".join(message(1, each) for each in nodes) + library


def function(name: str, arguments: Sequence[str], results: Mapping[str, str], *nodes: bytes) -> bytes:
    """A FunctionDef."""
    signature = message(1, name.encode()) + b"".join(message(2, message(1, each.encode())) for each in arguments)
    signature += b"".join(message(3, message(1, each.encode())) for each in results)
    returned = b"".join(
        message(4, message(1, key.encode()) + message(2, value.encode())) for key, value in results.items()
    )
    return message(1, signature) + b"".join(message(3, each) for each in nodes) + returned


def call(name: str, function_name: str, *inputs: str) -> bytes:
    return node(name, "StatefulPartitionedCall", *inputs, f=message(10, message(1, function_name.encode())))


def saved_model(graph: bytes, outputs: Sequence[str] = (), restore: str = "", *, tag: str = "serve") -> bytes:
    """A SavedModel with one graph and, if it has outputs, one signature."""
    given = b"".join(
        message(2, message(1, f"o{place}".encode()) + message(2, message(1, each.encode())))
        for place, each in enumerate(outputs)
    )
    signature = message(5, message(1, b"serving_default") + message(2, given)) if outputs else b""
    saver = message(3, message(3, restore.encode())) if restore else b""
    meta = message(1, message(4, tag.encode())) + message(2, graph) + saver + signature
    return number(1, 1) + message(2, meta)


WEIGHT = np.random.default_rng(0).normal(size=(3, 5, 3, 4)).astype("f4")
"""(height, width, in, out)."""


def one_conv(**changed: Any) -> bytes:
    """A frozen graph of one convolution."""
    return graph_def(placeholder(), const("w", WEIGHT), conv("c", "x", "w", **changed))


def one_variable(**changed) -> tuple[bytes, bytes, bytes]:
    """saved_model.pb, variables.index and the data of a SavedModel of one convolution, its names all different."""
    names = node(
        "names", "Const", value=message(8, number(1, 7) + message(2, shape_of((1,))) + message(8, b"layer/kernel"))
    )
    inner = function(
        "restore",
        ["handle"],
        {"r": "done:output:0"},
        names,
        node("RestoreV2", "RestoreV2", "handle", "names:output:0", "names:output:0"),
        node("same", "Identity", "RestoreV2:tensors:0"),
        node("put", "AssignVariableOp", "handle", "same:output:0"),
        node("done", "Identity", "handle", "^put"),
    )
    network = function(
        "network",
        ["image", "handle"],
        {"y": "c:output:0"},
        node("read", "ReadVariableOp", "handle"),
        conv("c", "image", "read:value:0", **changed),
    )
    graph = graph_def(
        placeholder(),
        node("Variable_7", "VarHandleOp", shape=message(7, shape_of(WEIGHT.shape))),
        call("net", "network", "x", "Variable_7"),
        call("load", "restore", "Variable_7"),
        functions=[inner, network],
    )
    return (saved_model(graph, ["net:0"], "load"), *bundle({"layer/kernel": WEIGHT}))


def hostile() -> Iterator[tuple[str, str, bytes, dict[str, bytes], str, str]]:
    """Label, name, content, the files beside it, the reason of the refusal, and part of its text."""
    yield from _hostile_checkpoints()
    yield from _hostile_graphs()


def _hostile_checkpoints() -> Iterator[tuple[str, str, bytes, dict[str, bytes], str, str]]:
    index, data = bundle({"conv/kernel": WEIGHT})
    side = {"a.data-00000-of-00001": data}

    def changed(label: str, reason: str, what: str, **changes):
        return label, "a.index", bundle({"conv/kernel": WEIGHT}, **changes)[0], side, reason, what

    yield "the index cut short", "a.index", index[:-9], side, "malformed", "without its end"
    yield "the data cut short", "a.index", index, {"a.data-00000-of-00001": data[:-1]}, "malformed", "outside the data"
    yield "no data", "a.index", index, {}, "malformed", "side file"
    yield "another name", "a.bin", index, side, "unsupported", "must end with .index"
    yield changed("an offset past the end", "malformed", "outside the data", offset=1 << 40)
    yield changed("a negative offset", "malformed", "outside the data", offset=-8)
    yield changed("a size of 2^62", "malformed", "outside the data", size=1 << 62)
    yield changed("another shape", "malformed", "bytes for", shape=(3, 5, 3, 5))
    yield changed("a shape of 2^60", "malformed", "bytes for", shape=(1 << 30, 1 << 30, 3, 3))
    yield changed("a side that is not known", "malformed", "bytes for", shape=(-1, 5, 3, 4))
    yield changed("many axes", "limit", "axes", shape=(1,) * 99)
    yield changed("a file of data that is not there", "malformed", "data file 5", shard=5)
    yield changed("a negative file of data", "malformed", "data file -1", shard=-1)
    yield changed("a million files of data", "limit", "data files", header=number(1, 10**6) + HEADER[2:])
    yield changed("no file of data", "malformed", "data files", header=b"\x08\x00" + HEADER[2:])
    yield changed("big-endian", "unsupported", "big-endian", header=b"\x08\x01\x10\x01" + HEADER[2:])
    broken = bytearray(index)
    broken[20] ^= 1
    yield "a byte of the index", "a.index", bytes(broken), side, "damaged", "CRC-32C"
    good = [(b"", HEADER), (b"conv/kernel", entry(WEIGHT, 0))]
    yield "snappy", "a.index", table(good, kind=1), side, "unsupported", "Snappy"
    yield "a type of block", "a.index", table(good, kind=9), side, "malformed", "type 9"
    twice = table([*good, good[1]])
    yield "two variables of one name", "a.index", twice, side, "malformed", "not in order"
    yield "out of order", "a.index", table([good[0], (b"z", good[1][1]), good[1]]), side, "malformed", "not in order"
    yield "a name that is no text", "a.index", table([good[0], (b"\xff\xfe", good[1][1])]), side, "malformed", "UTF-8"
    long = good[0], (b"k" * 70_000, good[1][1])
    yield "a name of 70 kB", "a.index", table(long), side, "malformed", "reaches past"
    yield "an entry cut short", "a.index", table([good[0], (b"a", good[1][1][:-1])]), side, "malformed", "protobuf"
    far = (
        index[: -len(MAGIC) - 40] + (varint(1) + varint(8) + varint(1 << 50) + varint(1 << 50)).ljust(40, b"\0") + MAGIC
    )
    yield "a far block", "a.index", far, side, "limit", "an index of"
    old = old_checkpoint({"conv/weights": WEIGHT})
    yield "an old one cut short", "a.ckpt", old[:-60], {}, "malformed", "without its end"
    fewer = old_checkpoint({"conv/weights": WEIGHT}, field=6)
    yield "an old one of other numbers", "a.ckpt", fewer, {}, "unsupported", "another type"
    yield (
        "an old one in slices",
        "a.ckpt",
        old_checkpoint({"c/weights": WEIGHT}, is_whole=False),
        {},
        "unsupported",
        "slices",
    )


def _hostile_graphs() -> Iterator[tuple[str, str, bytes, dict[str, bytes], str, str]]:
    good = one_conv()
    cases = {
        "cut short": (good[:-7], "malformed", "cut off"),
        "strides of 0": (one_conv(strides=(1, 0, 0, 1)), "malformed", "strides"),
        "two strides": (one_conv(strides=(1, 1)), "malformed", "strides"),
        "a stride of 2^40": (one_conv(strides=(1, 1 << 40, 1, 1)), "malformed", "strides"),
        "an odd padding": (one_conv(padding="WHAT"), "malformed", "padding"),
        "padding of two numbers": (one_conv(padding="EXPLICIT", explicit_paddings=(1, 1)), "malformed", "padding"),
        "other channels": (graph_def(placeholder(shape=(1, 8, 8, 5)), const("w", WEIGHT), conv("c", "x", "w")),
                           "malformed", "5 channels"),
        "an edge of nothing": (graph_def(placeholder(), conv("c", "x", "w")), "malformed", "not there"),
        "two nodes of one name": (graph_def(placeholder(), placeholder()), "unsupported", "one name"),
        "a circle": (
            graph_def(placeholder(), node("a", "Add", "b", "x"), node("b", "Relu", "a")), "malformed", "circle"),
        "no input": (graph_def(placeholder(), node("c", "Conv2D", "x")), "malformed", "without a weight"),
        "more numbers": (good.replace(shape_of(WEIGHT.shape), shape_of((3, 5, 4, 4))), "malformed", "720 bytes"),
        "rank 2": (graph_def(placeholder(), const("w", WEIGHT[0, 0]), conv("c", "x", "w")), "malformed", "of shape"),
        "an unknown convolution": (
            graph_def(placeholder(), const("w", WEIGHT), conv("c", "x", "w", "QuantizedConv2D")),
            "unsupported", "layout"),
        "integers": (
            graph_def(placeholder(), const("w", WEIGHT.astype("i4")), conv("c", "x", "w")), "unsupported", "I32"),
        "a fake quantisation": (graph_def(
            placeholder(), const("w", WEIGHT), node("q", "FakeQuantWithMinMaxVars", "w", "w", "w"),
            conv("c", "x", "q")), "unsupported", "FakeQuant"),
    }  # fmt: skip
    for label, (content, reason, what) in cases.items():
        yield label, "a.pb", content, {}, reason, what
    doubling = [
        function(f"f{n}", ["a"], {"r": "q:output:0"}, call("p", f"f{n + 1}", "a"), call("q", f"f{n + 1}", "p:output:0"))
        for n in range(40)
    ]
    last = function("f40", ["a"], {"r": "i:output:0"}, node("i", "Identity", "a"))
    bomb = graph_def(placeholder(), call("y", "f0", "x"), functions=[*doubling, last])
    yield "calls that double", "a.pb", bomb, {}, "limit", "operations"
    endless = graph_def(placeholder(), call("y", "f", "x"),
                        functions=[function("f", ["a"], {"r": "p:output:0"}, call("p", "f", "a"))])  # fmt: skip
    yield "a function that calls itself", "a.pb", endless, {}, "limit", "deep"
    model, index, data = one_variable()
    sides = {"variables/variables.index": index, "variables/variables.data-00000-of-00001": data}
    name = "saved_model.pb"
    yield "no variables", name, model, {}, "malformed", "side file"
    other = dict(zip(sides, bundle({"layer/kernel": WEIGHT[..., :2]}), strict=True))
    yield "variables of another shape", name, model, other, "unsupported", "in the checkpoint"
    without = dict(zip(sides, bundle({"other": WEIGHT}), strict=True))
    yield "another variable", name, model, without, "unsupported", "not in the checkpoint"
    unreached = graph_def(
        placeholder(), functions=[function("f", ["a", "w"], {"y": "c:output:0"}, conv("c", "a", "w"))]
    )
    yield "a function that nothing calls", name, saved_model(unreached, ["x"]), {}, "unsupported", "no signature"
