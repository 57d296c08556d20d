"""Writes good and hostile ONNX files: one convolution whose weight is stored in many ways, and what must be refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper
from tests.memory_file import MemoryFile

from filterzoo.errors import Reason
from filterzoo.records import Tensor
from filterzoo_plugins.formats.onnx import Onnx

OPSET = 21
WEIGHT = np.random.default_rng(3).normal(size=(4, 3, 3, 3)).astype("f4")


def value(name: str) -> onnx.ValueInfoProto:
    """A float value without a shape."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, None)


def model_of(
    nodes: list[NodeProto],
    arrays: list[TensorProto] | None = None,
    inputs: tuple[str, ...] = ("x",),
    outputs: tuple[str, ...] = ("y",),
    **options: Any,
) -> ModelProto:
    """A model of these nodes; what it lacks for the checker no reader needs."""
    graph = helper.make_graph(nodes, "g", [value(n) for n in inputs], [value(n) for n in outputs], arrays or [])
    options.setdefault("opset_imports", [helper.make_opsetid("", OPSET)])
    return helper.make_model(graph, **options)


def stored(name: str, numbers: np.ndarray | np.generic) -> TensorProto:
    """The array as raw_data."""
    return numpy_helper.from_array(np.ascontiguousarray(numbers), name)


def typed(name: str, data_type: int, numbers: np.ndarray | np.generic) -> TensorProto:
    """The array in float_data, int32_data or whatever the type asks for."""
    return helper.make_tensor(name, data_type, numbers.shape, numbers.reshape(-1).tolist())


def conv(weight: str = "w", operator: str = "Conv", **attributes: Any) -> NodeProto:
    return helper.make_node(operator, ["x", weight], ["y"], **attributes)


def one_conv(array: TensorProto, **attributes: Any) -> bytes:
    """One Conv that reads one initializer."""
    return model_of([conv(**attributes)], [array]).SerializeToString()


def external(numbers: np.ndarray = WEIGHT, **entries: Any) -> TensorProto:
    """An array that names where its numbers lie."""
    array = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=numbers.shape, data_location=TensorProto.EXTERNAL)
    for key, entry in entries.items():
        array.external_data.add(key=key, value=str(entry))
    return array


Weight = tuple[list[NodeProto], list[TensorProto]]


def ways_to_store() -> Iterator[tuple[str, Weight]]:
    """Nodes and initializers that give a value `w`, under a name; ONNX's own evaluator says what it is."""
    node = helper.make_node
    yield "raw", ([], [stored("w", WEIGHT)])
    yield "float_data", ([], [typed("w", TensorProto.FLOAT, WEIGHT)])
    yield "double_data", ([], [typed("w", TensorProto.DOUBLE, WEIGHT.astype("f8"))])
    yield "float64", ([], [stored("w", WEIGHT.astype("f8") / 3)])
    yield "float16", ([], [stored("w", WEIGHT.astype("f2"))])
    yield "bfloat16", ([], [bfloat16("w")])
    for name, numbers in (
        ("1-D", WEIGHT[..., 0]),
        ("3-D", np.stack([WEIGHT, -WEIGHT], axis=-1)),
        ("1x1", WEIGHT[..., :1, :1]),
    ):
        yield name, ([], [stored("w", numbers)])
    yield "Constant", ([node("Constant", [], ["w"], value=stored("inner", WEIGHT))], [])
    yield "Identity", ([node("Identity", ["a"], ["w"])], [stored("a", WEIGHT)])
    yield "Cast from float16", ([node("Cast", ["a"], ["w"], to=1)], [stored("a", WEIGHT.astype("f2"))])
    yield "Cast from float64", ([node("Cast", ["a"], ["w"], to=1)], [stored("a", WEIGHT.astype("f8") / 3)])
    yield "Cast from int8", ([node("Cast", ["a"], ["w"], to=1)], [stored("a", quantised("i1"))])
    yield (
        "Transpose",
        ([node("Transpose", ["a"], ["w"], perm=[3, 2, 0, 1])], [stored("a", WEIGHT.transpose(2, 3, 1, 0))]),
    )
    yield "Transpose by default", ([node("Transpose", ["a"], ["w"])], [stored("a", WEIGHT.T)])
    yield (
        "Reshape",
        (
            [node("Reshape", ["a", "s"], ["w"])],
            [stored("a", WEIGHT.reshape(4, 27)), stored("s", np.array([0, 3, -1, 3]))],
        ),
    )
    yield (
        "Reshape by int64_data",
        (
            [node("Reshape", ["a", "s"], ["w"])],
            [stored("a", WEIGHT.reshape(-1)), typed("s", 7, np.array([4, 3, 3, -1]))],
        ),
    )
    yield (
        "Reshape by Constant",
        (
            [node("Constant", [], ["s"], value_ints=[4, 3, 9]), node("Reshape", ["a", "s"], ["w"])],
            [stored("a", WEIGHT)],
        ),
    )
    yield "Unsqueeze", ([node("Unsqueeze", ["a", "s"], ["w"])], [stored("a", WEIGHT[:, 0]), stored("s", np.array([1]))])
    yield (
        "Unsqueeze twice",
        ([node("Unsqueeze", ["a", "s"], ["w"])], [stored("a", WEIGHT[0, 0]), stored("s", np.array([-4, 1]))]),
    )
    yield "Squeeze", ([node("Squeeze", ["a", "s"], ["w"])], [stored("a", WEIGHT[:, None]), stored("s", np.array([-4]))])
    yield "Squeeze all", ([node("Squeeze", ["a"], ["w"])], [stored("a", WEIGHT[:, None, ..., None])])
    yield from ways_to_quantise()
    yield from ways_to_compute()


def ways_to_quantise() -> Iterator[tuple[str, Weight]]:
    node = helper.make_node
    one, many = np.float32(0.017), np.linspace(0.01, 0.3, 4, dtype="f4")

    def dequantise(dtype: str, scale: np.ndarray | np.generic, zero: TensorProto | None, **attributes: Any) -> Weight:
        names = ["q", "scale", *(["zero"] if zero else [])]
        return [node("DequantizeLinear", names, ["w"], **attributes)], [
            stored("q", quantised(dtype)),
            stored("scale", scale),
            *([zero] if zero else []),
        ]

    yield "int8 per tensor", dequantise("i1", one, stored("zero", np.int8(0)))
    yield "uint8 per tensor", dequantise("u1", one, stored("zero", np.uint8(129)))
    yield "int8 per channel", dequantise("i1", many, stored("zero", np.arange(4, dtype="i1")), axis=0)
    yield "int8 per channel, no zero point", dequantise("i1", many, None, axis=-4)
    yield "int8 along input channels", dequantise("i1", many[:3], None)
    yield "int16", dequantise("i2", one, stored("zero", np.int16(-9)))
    yield "int32", dequantise("i4", one, None)
    yield "zero point in int32_data", dequantise("i1", one, typed("zero", TensorProto.INT8, np.int8(-7)))
    nodes, arrays = dequantise("i1", many, None, axis=0)
    turned = node("Transpose", ["w"], ["t"], perm=[1, 0, 3, 2])
    yield "int8 transposed", ([*nodes, turned, node("Identity", ["t"], ["v"])], arrays)
    axes = node("Constant", [], ["s"], value_ints=[4, 9, 3])
    yield "int8 reshaped", ([*nodes, axes, node("Reshape", ["w", "s"], ["v"])], arrays)


def ways_to_compute() -> Iterator[tuple[str, Weight]]:
    """Constants that have to be computed, or that are not stored number by number."""
    node = helper.make_node
    length = np.abs(WEIGHT[:, :1, :1, :1]) + np.float32(0.5)
    half = WEIGHT.astype("f2")
    a, g = stored("a", WEIGHT), stored("g", length)
    numbers = TensorProto(name="a", data_type=TensorProto.FLOAT16, dims=WEIGHT.shape)
    numbers.int32_data.extend(half.view("u2").reshape(-1).tolist())
    yield "float16 in int32_data", ([node("Cast", ["a"], ["w"], to=1)], [numbers])
    small = np.random.default_rng(9).integers(-8, 8, WEIGHT.size)
    for name, low in (("INT4", 0), ("UINT4", 8)):
        array = helper.make_tensor("q", getattr(TensorProto, name), WEIGHT.shape, (small + low).tolist())
        for label, four in (("int32_data", array), ("raw_data", _as_raw(array))):
            dequantise = node("DequantizeLinear", ["q", "s"], ["w"])
            yield f"{name} in {label}", ([dequantise], [four, stored("s", np.float32(0.3))])
    spelled = node("Constant", [], ["c"], value_floats=WEIGHT.reshape(-1).tolist())
    shape = node("Constant", [], ["s"], value_ints=list(WEIGHT.shape))
    yield "value_floats", ([spelled, shape, node("Reshape", ["c", "s"], ["w"])], [])
    factor = node("Constant", [], ["f"], value_float=0.3)
    yield "multiplied by value_float", ([factor, node("Mul", ["a", "f"], ["w"])], [a])
    for operator in ("Mul", "Div", "Add", "Sub", "Min", "Max"):
        yield operator, ([node(operator, ["a", "g"], ["w"])], [a, g])
        yield (
            f"{operator} in float16",
            ([node(operator, ["a", "g"], ["w"])], [stored("a", half), stored("g", half[:1])]),
        )
    yield "Neg and Abs", ([node("Abs", ["a"], ["b"]), node("Neg", ["b"], ["w"])], [a])
    yield "a narrowing cast", ([node("Cast", ["a"], ["w"], to=10)], [a])
    yield (
        "a transposition, then another shape",
        (
            [node("Transpose", ["a"], ["t"]), node("Reshape", ["t", "s"], ["w"])],
            [a, stored("s", np.array([4, 3, 3, 3]))],
        ),
    )
    yield (
        "Concat of Split",
        (
            [node("Split", ["a", "n"], ["b", "c"], axis=0), node("Concat", ["c", "b"], ["w"], axis=0)],
            [a, stored("n", np.array([1, 3]))],
        ),
    )
    yield (
        "Slice backwards",
        (
            [node("Slice", ["a", "b", "e", "x", "t"], ["w"])],
            [
                a,
                *(
                    stored(n, np.array(v))
                    for n, v in (("b", [-1, 0]), ("e", [-(1 << 40), 2]), ("x", [0, 2]), ("t", [-1, 1]))
                ),
            ],
        ),
    )
    yield "Gather", ([node("Gather", ["a", "i"], ["w"], axis=1)], [a, stored("i", np.array([2, 0, -2]))])
    yield (
        "Gather of one",
        (
            [node("Gather", ["a", "i"], ["w"], axis=0)],
            [stored("a", np.stack([WEIGHT, -WEIGHT])), stored("i", np.array(1))],
        ),
    )
    yield (
        "Expand",
        ([node("Expand", ["a", "s"], ["w"])], [stored("a", WEIGHT[:, :1]), stored("s", np.array([4, 3, 3, 3]))]),
    )
    yield (
        "Flatten",
        (
            [node("Flatten", ["a"], ["f"], axis=2), node("Reshape", ["f", "s"], ["w"])],
            [a, stored("s", np.array([4, 3, 3, 3]))],
        ),
    )
    yield (
        "Reshape by Shape of another",
        (
            [
                node("Shape", ["g"], ["s0"]),
                node("Gather", ["s0", "i"], ["s1"]),
                node("Concat", ["s1", "r"], ["s"], axis=0),
                node("Reshape", ["a", "s"], ["w"]),
            ],
            [stored("a", WEIGHT.reshape(-1)), g, stored("i", np.array([0])), stored("r", np.array([3, 3, 3]))],
        ),
    )
    yield (
        "MatMul",
        (
            [node("MatMul", ["l", "r"], ["m"]), node("Reshape", ["m", "s"], ["w"])],
            [
                stored("l", np.arange(8, dtype="f4").reshape(4, 2)),
                stored("r", np.arange(54, dtype="f4").reshape(2, 27)),
                stored("s", np.array([4, 3, 3, 3])),
            ],
        ),
    )
    zero = np.arange(4, dtype="i1")
    scales = np.linspace(0.01, 0.3, 4, dtype="f4")
    pair = [
        node("QuantizeLinear", ["a", "s", "z"], ["q"], axis=0),
        node("DequantizeLinear", ["q", "s", "z"], ["w"], axis=0),
    ]
    yield "fake quantisation", (pair, [a, stored("s", scales), stored("z", zero)])
    blocks = np.linspace(0.01, 0.3, 24, dtype="f4").reshape(4, 2, 3, 1).repeat(3, 3)
    yield (
        "scales in blocks",
        (
            [node("DequantizeLinear", ["q", "s"], ["w"], axis=1, block_size=2)],
            [stored("q", quantised("i1")[:, [0, 1, 2]]), stored("s", blocks)],
        ),
    )


def _as_raw(array: TensorProto) -> TensorProto:
    """The same 4-bit numbers in raw_data: int32_data holds a byte a number."""
    content = bytes(number & 0xFF for number in array.int32_data)
    return TensorProto(name=array.name, data_type=array.data_type, dims=array.dims, raw_data=content)


def quantised(dtype: str) -> np.ndarray:
    low = 0 if dtype.startswith("u") else -128
    return np.random.default_rng(5).integers(low, low + 256, WEIGHT.shape).astype(dtype)


def bfloat16(name: str) -> TensorProto:
    halves = (WEIGHT.view("u4") >> 16).astype("<u2")
    return TensorProto(name=name, data_type=TensorProto.BFLOAT16, dims=WEIGHT.shape, raw_data=halves.tobytes())


def graph_attribute(name: str, graph: GraphProto) -> AttributeProto:
    return AttributeProto(name=name, type=AttributeProto.GRAPH, g=graph)


def varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def message(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


GOOD = one_conv(stored("w", WEIGHT))
_GRAPH_AT = GOOD.index(b"\x3a")


def _tensor(**changes: Any) -> TensorProto:
    array = stored("w", WEIGHT)
    for key, change in changes.items():
        array.ClearField(key)
        if isinstance(change, list):
            getattr(array, key).extend(change)
        else:
            setattr(array, key, change)
    return array


def _nested(depth: int) -> bytes:
    """An If in an If in an If; protobuf's own parser stops at a hundred messages."""
    graph = message(1, conv("x").SerializeToString())
    for _ in range(depth):
        branch = message(5, message(1, b"then_branch") + message(6, graph))
        graph = message(1, message(1, b"x") + message(2, b"y") + message(4, b"If") + branch)
    return b"\x08\x08" + message(7, graph + message(11, message(1, b"x")))


def _functions(bodies: dict[str, list[str]]) -> bytes:
    """Functions that call one another, the first one called by the graph."""
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid("own", 1)]
    made = [
        helper.make_function(
            "own",
            name,
            ["a"],
            ["b0"],
            [helper.make_node(called, ["a"], [f"b{n}"], domain="own") for n, called in enumerate(calls)],
            imports,
        )
        for name, calls in bodies.items()
    ]
    first = helper.make_node(next(iter(bodies)), ["x"], ["y"], domain="own")
    return model_of([first], functions=made, opset_imports=imports).SerializeToString()


def _twice(field: bytes) -> bytes:
    """The weight's message with a field appended."""
    return message(
        7, message(1, conv().SerializeToString()) + message(5, stored("w", WEIGHT).SerializeToString() + field)
    )


def _computed(*nodes: NodeProto, arrays: list[TensorProto]) -> bytes:
    return model_of([*nodes, conv()], arrays).SerializeToString()


def hostile() -> dict[str, tuple[bytes, Reason]]:
    """Files that must be refused, each with its reason. The side file w.bin has 432 bytes."""
    node = helper.make_node
    files: dict[str, tuple[bytes, Reason]] = {
        "cut in the weight": (GOOD[:-200], Reason.MALFORMED),
        "cut in a tag": (GOOD + b"\xff", Reason.MALFORMED),
        "no graph": (b"\x08\x08\x12\x01x", Reason.MALFORMED),
        "two graphs": (GOOD + GOOD[_GRAPH_AT:], Reason.UNSAFE),
        "a group": (GOOD + b"\x0b\x0c", Reason.MALFORMED),
        "field number 0": (GOOD + b"\x02\x00", Reason.MALFORMED),
        "a length past the end": (GOOD + b"\x3a" + varint(1 << 40), Reason.MALFORMED),
        "a length of 2^64 - 1": (GOOD + b"\x3a" + varint((1 << 64) - 1), Reason.MALFORMED),
        "a number of 11 bytes": (GOOD + b"\x28" + b"\xff" * 11, Reason.MALFORMED),
        "raw_data too short": (one_conv(_tensor(raw_data=bytes(100))), Reason.MALFORMED),
        "raw_data too long": (one_conv(_tensor(raw_data=bytes(433))), Reason.MALFORMED),
        "no data": (one_conv(_tensor(dims=[1 << 17, 1 << 17, 3, 3], raw_data=b"")), Reason.MALFORMED),
        "float_data too short": (one_conv(_tensor(raw_data=b"", float_data=[1.0, 2.0])), Reason.MALFORMED),
        "two sets of data": (one_conv(_tensor(float_data=[1.0])), Reason.MALFORMED),
        "raw_data twice": (b"\x08\x08" + _twice(message(9, bytes(432))), Reason.UNSAFE),
        "name twice": (b"\x08\x08" + _twice(message(8, b"v")), Reason.UNSAFE),
        "negative dim": (one_conv(_tensor(dims=[-4, 3, 3, 3])), Reason.MALFORMED),
        "two negative dims": (one_conv(_tensor(dims=[-4, -3, 3, 3])), Reason.MALFORMED),
        "dims overflow": (one_conv(_tensor(dims=[1 << 62, 1 << 62])), Reason.MALFORMED),
        "dims overflow to the right size": (one_conv(_tensor(dims=[(1 << 62) + 1, 4, 27])), Reason.MALFORMED),
        "65 dims": (one_conv(_tensor(dims=[1] * 65)), Reason.LIMIT),
        "zero channels": (one_conv(_tensor(dims=[0, 3, 3, 3], raw_data=b"")), Reason.MALFORMED),
        "rank 2": (one_conv(stored("w", WEIGHT.reshape(4, 27))), Reason.MALFORMED),
        "unknown type": (one_conv(_tensor(data_type=999)), Reason.UNSUPPORTED),
        "no type": (one_conv(_tensor(data_type=0)), Reason.UNSUPPORTED),
        "strings": (one_conv(_tensor(data_type=8)), Reason.UNSUPPORTED),
        "complex": (one_conv(stored("w", WEIGHT.astype("c8"))), Reason.UNSUPPORTED),
        "booleans": (one_conv(stored("w", WEIGHT > 0)), Reason.UNSUPPORTED),
        "integers without a scale": (one_conv(stored("w", quantised("i1"))), Reason.UNSUPPORTED),
        "4-bit numbers": (one_conv(_tensor(data_type=TensorProto.INT4, raw_data=bytes(54))), Reason.UNSUPPORTED),
        "a segment": (one_conv(_segmented()), Reason.UNSUPPORTED),
        "a name that is no UTF-8": (GOOD.replace(b"\x42\x01w", b"\x42\x01\xff"), Reason.MALFORMED),
        "a sparse weight": (_sparse(), Reason.UNSUPPORTED),
        "groups that do not divide": (one_conv(stored("w", WEIGHT), group=3), Reason.MALFORMED),
        "no groups": (one_conv(stored("w", WEIGHT), group=0), Reason.MALFORMED),
        "minus one group": (one_conv(stored("w", WEIGHT), group=-1), Reason.MALFORMED),
        "another kernel_shape": (one_conv(stored("w", WEIGHT), kernel_shape=[3, 5]), Reason.MALFORMED),
        "three strides": (one_conv(stored("w", WEIGHT), strides=[1, 1, 1]), Reason.MALFORMED),
        "a thousand strides": (one_conv(stored("w", WEIGHT), strides=[1] * 1000), Reason.MALFORMED),
        "stride 0": (one_conv(stored("w", WEIGHT), strides=[0, 1]), Reason.MALFORMED),
        "stride 2^62": (one_conv(stored("w", WEIGHT), strides=[1 << 62, 1]), Reason.MALFORMED),
        "dilation -1": (one_conv(stored("w", WEIGHT), dilations=[-1, 1]), Reason.MALFORMED),
        "three pads": (one_conv(stored("w", WEIGHT), pads=[1, 1, 1]), Reason.MALFORMED),
        "no weight at all": (model_of([node("Conv", ["x"], ["y"])]).SerializeToString(), Reason.MALFORMED),
        "a weight from nowhere": (model_of([conv("nowhere")]).SerializeToString(), Reason.MALFORMED),
        "a loop of two nodes": (
            model_of([node("Relu", ["b"], ["y"]), node("Relu", ["y"], ["b"])]).SerializeToString(),
            Reason.MALFORMED,
        ),
        "two initializers of one name": (
            model_of([conv()], [stored("w", WEIGHT), stored("w", -WEIGHT)]).SerializeToString(),
            Reason.MALFORMED,
        ),
        "a node that redefines the weight": (
            model_of([node("Relu", ["x"], ["w"]), conv()], [stored("w", WEIGHT)]).SerializeToString(),
            Reason.MALFORMED,
        ),
        "group given twice": (_attribute_twice(), Reason.UNSAFE),
        "40 bodies in one another": (_nested(40), Reason.LIMIT),
        "400 bodies in one another": (_nested(400), Reason.LIMIT),
        "a function that calls itself": (_functions({"f": ["f"]}), Reason.MALFORMED),
        "two functions that call one another": (_functions({"f": ["g"], "g": ["f"]}), Reason.MALFORMED),
        "30 functions that call the next one twice": (
            _functions({f"f{n}": [f"f{n + 1}"] * 2 for n in range(30)}),
            Reason.LIMIT,
        ),
        "50 functions in one another": (_functions({f"f{n}": [f"f{n + 1}"] for n in range(50)}), Reason.LIMIT),
        "a layout nobody knows": (
            model_of(
                [node("NhwcConv", ["x", "w"], ["y"], domain="com.microsoft")], [stored("w", WEIGHT)]
            ).SerializeToString(),
            Reason.UNSUPPORTED,
        ),
        "channels last": (
            model_of(
                [
                    node(
                        "QLinearConv",
                        ["x", "s", "z", "w", "s", "z", "s", "z"],
                        ["y"],
                        domain="com.microsoft",
                        channels_last=1,
                    )
                ],
                [stored("w", quantised("i1")), stored("s", np.float32(1)), stored("z", np.int8(0))],
            ).SerializeToString(),
            Reason.UNSUPPORTED,
        ),
        "a permutation that is none": (
            _computed(node("Transpose", ["a"], ["w"], perm=[0, 0, 1, 2]), arrays=[stored("a", WEIGHT)]),
            Reason.UNSUPPORTED,
        ),
        "five scales for four channels": (_dequantised(np.ones(5, "f4")), Reason.UNSUPPORTED),
        "blocks of scales": (_dequantised(np.ones((4, 3), "f4")), Reason.UNSUPPORTED),
        "a scale that is not a number": (_dequantised(np.float32("nan")), Reason.MALFORMED),
        "a scale of text": (_dequantised(np.array(["a"], object)), Reason.UNSUPPORTED),
    }
    places: dict[str, tuple[dict[str, Any], Reason]] = {
        "above": ({"location": "../secret.bin"}, Reason.UNSAFE),
        "absolute": ({"location": "/etc/passwd"}, Reason.UNSAFE),
        "nested": ({"location": "a/../../secret.bin"}, Reason.UNSAFE),
        "with a backslash": ({"location": "a\\w.bin"}, Reason.UNSAFE),
        "on a drive": ({"location": "C:w.bin"}, Reason.UNSAFE),
        "with a NUL": ({"location": "w.bin\0/etc/passwd"}, Reason.UNSAFE),
        "a device": ({"location": "/dev/zero"}, Reason.UNSAFE),
        "in memory": ({"location": "*/_ORT_MEM_ADDR_/*"}, Reason.UNSAFE),
        "a folder": ({"location": "folder"}, Reason.UNSAFE),
        "a file that is not there": ({"location": "nope.bin"}, Reason.MALFORMED),
        "nowhere": ({"length": 432}, Reason.MALFORMED),
        "past the end": ({"location": "w.bin", "offset": 400, "length": 432}, Reason.MALFORMED),
        "past the end without a length": ({"location": "w.bin", "offset": 4}, Reason.MALFORMED),
        "at a negative offset": ({"location": "w.bin", "offset": -100}, Reason.MALFORMED),
        "of 2^62 bytes": ({"location": "w.bin", "length": 1 << 62}, Reason.MALFORMED),
        "of too few bytes": ({"location": "w.bin", "length": 100}, Reason.MALFORMED),
        "of no whole length": ({"location": "w.bin", "length": "1e3"}, Reason.MALFORMED),
        "of a length in other digits": ({"location": "w.bin", "length": "٤٣٢"}, Reason.MALFORMED),
    }
    files |= {f"external {name}": (one_conv(external(**entries)), reason) for name, (entries, reason) in places.items()}
    twice = external(location="w.bin")
    twice.external_data.add(key="location", value="other.bin")
    inside = external(location="w.bin")
    inside.raw_data = WEIGHT.tobytes()
    return files | {
        "external in two places": (one_conv(twice), Reason.UNSAFE),
        "external and inside": (one_conv(inside), Reason.MALFORMED),
    }


def _segmented() -> TensorProto:
    array = stored("w", WEIGHT)
    array.segment.begin = 0
    array.segment.end = 4
    return array


def _sparse() -> bytes:
    sparse = helper.make_sparse_tensor(stored("w", WEIGHT[0, 0, 0]), stored("i", np.arange(3)), WEIGHT.shape)
    model = model_of([conv()])
    model.graph.sparse_initializer.append(sparse)
    return model.SerializeToString()


def _attribute_twice() -> bytes:
    node = conv(group=1)
    node.attribute.append(helper.make_attribute("group", 2))
    return model_of([node], [stored("w", WEIGHT)]).SerializeToString()


def _dequantised(scale: np.ndarray | np.generic) -> bytes:
    node = helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0)
    return _computed(node, arrays=[stored("q", quantised("i1")), stored("s", scale)])


def layers_of(data: bytes) -> list[Tensor]:
    """What the convolutions of a file read."""
    return [tensor for tensor in Onnx().index(MemoryFile(data)) if isinstance(tensor, Tensor) and tensor.convolution]


def mutated(data: bytes, seed: int) -> bytes:
    """A copy with a few bytes changed, cut out, doubled or moved."""
    numbers = np.random.default_rng(seed)
    damaged = bytearray(data)
    for _ in range(int(numbers.integers(1, 6))):
        place = int(numbers.integers(len(damaged)))
        kind = int(numbers.integers(4))
        if kind < 2:
            damaged[place] = int(numbers.integers(256))
        elif kind == 2:
            del damaged[place : place + int(numbers.integers(1, 9))]
        else:
            damaged[place:place] = damaged[place : place + int(numbers.integers(1, 30))]
    return bytes(damaged)
