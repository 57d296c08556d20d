"""Writes good and hostile TFLite files, table by table with the FlatBuffers builder."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import flatbuffers
import numpy as np

from filterzoo.errors import Reason

F32, F16, I32, U8, STRING, I16, I8, INT4, BF16 = 0, 1, 2, 3, 5, 7, 9, 17, 18
CONV, DEPTHWISE, DEQUANTIZE, CUSTOM, MUL, CALL = 3, 4, 6, 32, 18, 31
LOGISTIC, TRANSPOSE, RESHAPE, DENSIFY, CONCATENATION, CAST, RSQRT, GATHER = 14, 39, 22, 124, 2, 53, 76, 36
TRANSPOSE_CONV, IF, WHILE, CONV_3D, CONV_3D_TRANSPOSE, STABLEHLO_CONVOLUTION, COMPOSITE = (
    67,
    118,
    119,
    132,
    141,
    171,
    206,
)
TYPES = {"float32": F32, "float16": F16, "int32": I32, "uint8": U8, "int16": I16, "int8": I8}

# Slots of the options: strides along height and width.
CONV_OPTIONS = {0: 1, 1: 1, 2: 1}
WEIGHT = np.random.default_rng(7).normal(size=(4, 3, 5, 2)).astype("f4")
INTEGERS = np.random.default_rng(8).integers(-128, 128, WEIGHT.shape).astype("i1")


@dataclass(frozen=True)
class Sparsity:
    """order, blocks: as schema.fbs has them. levels: a length, or segments and indices of a compressed one."""

    order: Sequence[int]
    levels: Sequence[int | tuple[Sequence[int], Sequence[int]]]
    blocks: Sequence[int] = ()


@dataclass(frozen=True)
class T:
    """A tensor; `data` None for one that is made at run time."""

    name: str
    shape: Sequence[int]
    data: bytes | None = None
    type: int = F32
    scales: Sequence[float] = ()
    zeros: Sequence[int] = ()
    axis: int = 0
    variable: bool = False
    sparse: bool = False
    sparsity: Sparsity | None = None
    details: int = 0
    buffer: int | None = None


@dataclass(frozen=True)
class Op:
    """An operator; options: 32-bit numbers, or bytes for the slots in `small`, by slot."""

    code: int
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: Mapping[int, int] | None = None
    options_type: int | None = None
    custom: str = ""
    code_index: int | None = None


@dataclass(frozen=True)
class Graph:
    tensors: Sequence[T]
    operators: Sequence[Op]
    inputs: Sequence[int] = (0,)
    outputs: Sequence[int] = ()


_OPTIONS_TYPES = {CONV: 1, DEPTHWISE: 2, CALL: 16, TRANSPOSE_CONV: 49, IF: 92, WHILE: 93, CONV_3D: 106}
_OPTIONS_TYPES |= {CONV_3D_TRANSPOSE: 106, MUL: 21, DEQUANTIZE: 27}


def stored(name: str, numbers: np.ndarray, **more: Any) -> T:
    return T(name, numbers.shape, numbers.tobytes(), TYPES[str(numbers.dtype)], **more)


def flatbuffer_table(builder: flatbuffers.Builder, slots: Mapping[int, tuple[str, int]]) -> int:
    """A table of fields by slot: ("o", offset) or (a struct code, number)."""
    builder.StartObject(max(slots, default=-1) + 1)
    writers = {"b": builder.PrependInt8, "B": builder.PrependUint8, "i": builder.PrependInt32}
    writers |= {"I": builder.PrependUint32, "Q": builder.PrependUint64, "o": builder.PrependUOffsetTRelative}
    for slot, (kind, number) in slots.items():
        writers[kind](number)
        builder.Slot(slot)
    return builder.EndObject()


def vector(builder: flatbuffers.Builder, items: Iterable[int], kind: str = "o") -> int:
    items = list(items)
    size = {"o": 4, "i": 4, "f": 4, "q": 8}[kind]
    builder.StartVector(size, len(items), size)
    writers = {"o": builder.PrependUOffsetTRelative, "i": builder.PrependInt32}
    writers |= {"f": builder.PrependFloat32, "q": builder.PrependInt64}
    for item in reversed(items):
        writers[kind](item)
    return builder.EndVector()


def tflite_bytes(*graphs: Graph, version: int = 3, metadata: bytes | None = None, identifier: bytes = b"TFL3") -> bytes:
    """A file of these subgraphs, the buffers' bytes at its end, as the converter writes them."""
    builder = flatbuffers.Builder(1024)
    contents = [b"", *(t.data or b"" for graph in graphs for t in graph.tensors), *([metadata] if metadata else [])]
    buffers = vector(builder, [_buffer(builder, content) for content in contents])
    codes = sorted({(op.code, op.custom) for graph in graphs for op in graph.operators})
    code_tables = [
        flatbuffer_table(builder, {0: ("b", min(code, 127)), 1: ("o", name), 3: ("i", code)})
        for code, name in [(code, builder.CreateString(custom)) for code, custom in codes]
    ]
    code_vector = vector(builder, code_tables)
    first, subgraphs = 1, []
    for graph in graphs:
        subgraphs.append(_subgraph(builder, graph, codes, first))
        first += len(graph.tensors)
    slots = {0: ("I", version), 1: ("o", code_vector), 2: ("o", vector(builder, subgraphs)), 4: ("o", buffers)}
    if metadata:
        name = builder.CreateString("TFLITE_METADATA")
        entry = flatbuffer_table(builder, {0: ("o", name), 1: ("I", len(contents) - 1)})
        slots[6] = ("o", vector(builder, [entry]))
    builder.Finish(flatbuffer_table(builder, slots), file_identifier=identifier)
    return bytes(builder.Output())


def metadata_bytes(licence: str) -> bytes:
    """The model's metadata, as TensorFlow's metadata writer adds them."""
    builder = flatbuffers.Builder(64)
    text = builder.CreateString(licence)
    builder.Finish(flatbuffer_table(builder, {5: ("o", text)}), file_identifier=b"M001")
    return bytes(builder.Output())


def _buffer(builder: flatbuffers.Builder, content: bytes) -> int:
    return flatbuffer_table(builder, {0: ("o", builder.CreateByteVector(content))} if content else {})


def _subgraph(builder: flatbuffers.Builder, graph: Graph, codes: list[tuple[int, str]], first: int) -> int:
    tensors = [_tensor(builder, tensor, first + place) for place, tensor in enumerate(graph.tensors)]
    operators = [_operator(builder, op, codes) for op in graph.operators]
    slots = {0: vector(builder, tensors), 1: vector(builder, graph.inputs, "i"), 2: vector(builder, graph.outputs, "i")}
    slots[3] = vector(builder, operators)
    return flatbuffer_table(builder, {slot: ("o", offset) for slot, offset in slots.items()})


def _tensor(builder: flatbuffers.Builder, tensor: T, number: int) -> int:
    offsets = {3: builder.CreateString(tensor.name), 0: vector(builder, tensor.shape, "i")}
    if tensor.scales:
        parts = {2: ("o", vector(builder, tensor.scales, "f")), 6: ("i", tensor.axis), 4: ("B", tensor.details)}  # type: ignore[arg-type]  # of a type that the test knows
        if tensor.zeros:
            parts[3] = ("o", vector(builder, tensor.zeros, "q"))
        offsets[4] = flatbuffer_table(builder, parts)
    if tensor.sparse:
        offsets[6] = flatbuffer_table(builder, {})
    if tensor.sparsity:
        offsets[6] = _sparsity(builder, tensor.sparsity)
    slots = {slot: ("o", offset) for slot, offset in offsets.items()}
    slots[2] = ("I", number if tensor.buffer is None else tensor.buffer)
    return flatbuffer_table(builder, slots | {1: ("b", tensor.type), 5: ("b", int(tensor.variable))})


def _sparsity(builder: flatbuffers.Builder, sparsity: Sparsity) -> int:
    levels = []
    for level in sparsity.levels:
        if isinstance(level, int):
            levels.append(flatbuffer_table(builder, {0: ("b", 0), 1: ("i", level)}))
            continue
        slots = {0: ("b", 1)}
        for slot, numbers in zip((2, 4), level, strict=True):
            content = builder.CreateByteVector(bytes(numbers))
            slots |= {slot: ("B", 3), slot + 1: ("o", flatbuffer_table(builder, {0: ("o", content)}))}
        levels.append(flatbuffer_table(builder, slots))
    slots = {0: ("o", vector(builder, sparsity.order, "i")), 2: ("o", vector(builder, levels))}
    return flatbuffer_table(builder, slots | {1: ("o", vector(builder, sparsity.blocks, "i"))})


def _operator(builder: flatbuffers.Builder, op: Op, codes: list[tuple[int, str]]) -> int:
    index = codes.index((op.code, op.custom)) if op.code_index is None else op.code_index
    slots = {0: ("I", index), 1: ("o", vector(builder, op.inputs, "i")), 2: ("o", vector(builder, op.outputs, "i"))}
    if op.options is not None:
        # The padding and the activations are bytes; the builder leaves room for four where two are written.
        small = {0} if op.code in {CONV, DEPTHWISE, TRANSPOSE_CONV, CONV_3D, CONV_3D_TRANSPOSE} else set()
        fields = {slot: ("b" if slot in small else "i", number) for slot, number in op.options.items()}
        place = 12 if op.code == COMPOSITE else 4
        slots[place] = ("o", flatbuffer_table(builder, fields))
        slots[place - 1] = ("B", op.options_type if op.options_type is not None else _OPTIONS_TYPES.get(op.code, 21))
    return flatbuffer_table(builder, slots)


def one_conv(weight: T, code: int = CONV, options: Mapping[int, int] | None = None, **more: Any) -> bytes:
    """One convolution from x, of two channels, to y."""
    op = replace(Op(code, (0, 1), (2,), CONV_OPTIONS if options is None else options), **more)
    return tflite_bytes(Graph([T("x", (1, 8, 8, 2)), weight, T("y", (1, 8, 8, 4))], [op]))


GOOD = one_conv(stored("w", WEIGHT))


def _chain(code: int, options: Mapping[int, int] | None = None) -> Graph:
    """Tensors a and b of the same shape pass an operator and are convolved."""
    tensors = [
        T("x", (1, 8, 8, 2)),
        stored("a", WEIGHT),
        stored("b", WEIGHT),
        T("w", WEIGHT.shape),
        T("y", (1, 8, 8, 4)),
    ]
    return Graph(tensors, [Op(code, (1, 2), (3,), options or {}), Op(CONV, (0, 3), (4,), CONV_OPTIONS)])


def hostile() -> Iterator[tuple[str, bytes, Reason]]:
    """Files that must be refused, each with its reason."""
    malformed, unsupported = Reason.MALFORMED, Reason.UNSUPPORTED
    weight = stored("w", WEIGHT)
    y = T("y", (1, 8, 8, 4))
    x = T("x", (1, 8, 8, 2))
    conv = Op(CONV, (0, 1), (2,), CONV_OPTIONS)
    yield "cut in half", GOOD[: len(GOOD) // 2], malformed
    yield "cut after the head", GOOD[:8], malformed
    yield "a root beyond the end", struct.pack("<I", 1 << 31) + GOOD[4:], malformed
    yield "a root in the identifier", struct.pack("<I", 4) + GOOD[4:], malformed
    yield "noise behind the head", GOOD[:8] + random.Random(1).randbytes(len(GOOD) - 8), malformed
    yield "ones behind the head", GOOD[:8] + b"\xff" * 500, malformed
    yield "another version", tflite_bytes(Graph([x, weight, y], [conv]), version=2), unsupported
    yield "no graph", tflite_bytes(), malformed
    yield "data too short", one_conv(replace(weight, data=bytes(100))), malformed
    yield "data too long", one_conv(replace(weight, data=bytes(WEIGHT.nbytes + 4))), malformed
    yield "a negative side", one_conv(replace(weight, shape=(-4, 3, 5, 2))), malformed
    yield "two negative sides", one_conv(replace(weight, shape=(-4, -3, 5, 2))), malformed
    yield "sides that overflow", one_conv(replace(weight, shape=(2**31 - 1,) * 4)), malformed
    yield "65 axes", one_conv(replace(weight, shape=(1,) * 65)), Reason.LIMIT
    yield "a buffer that is not there", one_conv(replace(weight, buffer=99)), malformed
    yield "a tensor that is not there", tflite_bytes(Graph([x, weight, y], [replace(conv, inputs=(0, 9))])), malformed
    yield "tensor -2", tflite_bytes(Graph([x, weight, y], [replace(conv, inputs=(0, -2))])), malformed
    yield "no weight", tflite_bytes(Graph([x, weight, y], [replace(conv, inputs=(0, -1))])), malformed
    yield "one input", tflite_bytes(Graph([x, weight, y], [replace(conv, inputs=(0,))])), malformed
    yield "an input left out of a graph", tflite_bytes(Graph([x, weight, y], [conv], inputs=(-1,))), malformed
    yield (
        "an operator code that is not there",
        tflite_bytes(Graph([x, weight, y], [replace(conv, code_index=7)])),
        malformed,
    )
    yield "a weight of rank 3", one_conv(stored("w", WEIGHT[0])), malformed
    yield (
        "three channels for a weight of two",
        tflite_bytes(Graph([T("x", (1, 8, 8, 3)), weight, y], [conv])),
        malformed,
    )
    yield (
        "a depthwise weight of 3 for 2",
        one_conv(stored("w", WEIGHT[:1, ..., :1]), DEPTHWISE, {1: 1, 2: 1}),
        malformed,
    )
    yield from _hostile_options_and_numbers()
    yield from _hostile_graphs()


def _hostile_options_and_numbers() -> Iterator[tuple[str, bytes, Reason]]:
    malformed, unsupported = Reason.MALFORMED, Reason.UNSUPPORTED
    weight, whole = stored("w", WEIGHT), stored("w", INTEGERS, scales=[0.1])
    yield "no options", one_conv(weight, options=None, code=CONV, options_type=2), malformed
    yield "stride 0", one_conv(weight, options={1: 1}), malformed
    yield "stride -1", one_conv(weight, options={1: 1, 2: -1}), malformed
    yield "dilation 0", one_conv(weight, options=CONV_OPTIONS | {4: 0}), malformed
    yield "padding 7", one_conv(weight, options=CONV_OPTIONS | {0: 7}), malformed
    yield "sparse", one_conv(replace(weight, sparse=True)), unsupported
    yield "4 bits", one_conv(replace(weight, type=INT4, data=bytes(60))), unsupported
    yield "strings", one_conv(replace(weight, type=STRING)), unsupported
    yield "an unknown type", one_conv(replace(weight, type=99)), unsupported
    yield "integers without a scale", one_conv(replace(whole, scales=())), unsupported
    yield "a quantisation of its own", one_conv(replace(whole, details=1)), unsupported
    yield "three scales for four channels", one_conv(replace(whole, scales=[0.1] * 3)), malformed
    yield "scales along axis 9", one_conv(replace(whole, scales=[0.1] * 4, axis=9)), malformed
    yield "scales along axis -1", one_conv(replace(whole, scales=[0.1] * 2, axis=-1)), malformed
    yield "three zero points", one_conv(replace(whole, scales=[0.1] * 4, zeros=[1, 2, 3])), malformed
    yield "an endless scale", one_conv(replace(whole, scales=[float("inf")])), malformed
    yield "a scale that is no number", one_conv(replace(whole, scales=[float("nan")])), malformed


def _hostile_graphs() -> Iterator[tuple[str, bytes, Reason]]:
    malformed, unsupported = Reason.MALFORMED, Reason.UNSUPPORTED
    weight, x, y = stored("w", WEIGHT), T("x", (1, 8, 8, 2)), T("y", (1, 8, 8, 4))
    conv = Op(CONV, (0, 1), (2,), CONV_OPTIONS)
    yield "a weight that passes a logistic function", tflite_bytes(_chain(LOGISTIC)), unsupported
    yield "a weight whose sum is rectified", tflite_bytes(_chain(MUL, options={0: 1})), unsupported
    yield "a convolution of its own", one_conv(weight, CUSTOM, {}, custom="Convolution2DTransposeBias"), unsupported
    yield "a convolution of StableHLO", one_conv(weight, STABLEHLO_CONVOLUTION, {}), unsupported
    backwards = [Op(MUL, (3, 3), (2,), {}), Op(MUL, (0, 0), (3,), {})]
    yield "operators in no order", tflite_bytes(Graph([x, weight, y, x], backwards)), malformed
    itself = Op(CALL, (0,), (2,), {0: 0})
    yield "a graph that calls itself", tflite_bytes(Graph([x, weight, y], [itself], outputs=(2,))), malformed
    yield "a call to nowhere", tflite_bytes(Graph([x, weight, y], [replace(itself, options={0: 5})])), malformed
    yield "a call to -1", tflite_bytes(Graph([x, weight, y], [replace(itself, options={0: 2**31 - 1})])), malformed
    pairs = [Graph([x, weight, y], [replace(itself, options={0: n + 1})] * 2, outputs=(2,)) for n in range(25)]
    yield (
        "bodies that run the next one twice",
        tflite_bytes(*pairs, Graph([x, weight, y], [conv], outputs=(2,))),
        Reason.LIMIT,
    )
    deep = [Graph([x, weight, y], [replace(itself, options={0: n + 1})], outputs=(2,)) for n in range(50)]
    yield "fifty bodies in one another", tflite_bytes(*deep, Graph([x, weight, y], [conv], outputs=(2,))), Reason.LIMIT


def mutated(data: bytes, seed: int) -> bytes:
    """A copy with a few bytes changed, most of them outside the weights."""
    numbers = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(numbers.randint(1, 6)):
        place = numbers.randrange(len(damaged))
        damaged[place] = numbers.choice([0, 1, 0x7F, 0x80, 0xFF, numbers.randrange(256)])
    return bytes(damaged[: numbers.randrange(len(damaged))]) if seed % 10 == 0 else bytes(damaged)
