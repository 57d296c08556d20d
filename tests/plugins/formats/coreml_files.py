"""Core ML's models, good ones and hostile ones, written without Core ML."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from tests.plugins.formats.onnx_files import message, varint

DICE = np.random.default_rng(8)
WEIGHT = DICE.normal(size=(6, 2, 3, 5)).astype("f4")
"""(out, in/groups, height, width), in two groups."""
TYPES = {"<f4": 11, "<f2": 10, "|i1": 21, "|u1": 31, "<i4": 23}
SIDE = "weights/weight.bin"


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value & (1 << 64) - 1)


def packed(field: int, values: Sequence[int]) -> bytes:
    return message(field, b"".join(map(varint, values)))


def model(content: bytes, field: int = 500, version: int = 4) -> bytes:
    """A Model with a description."""
    return number(1, version) + message(2, message(1, message(1, b"image"))) + message(field, content)


# Neural networks


def weights(
    array: np.ndarray, *, scale: np.ndarray | None = None, bias: np.ndarray | None = None, bits: int = 8
) -> bytes:
    """A WeightParams: float32, float16, or bytes with a linear quantisation."""
    if array.dtype == np.float32:
        return message(1, array.tobytes())
    if array.dtype == np.float16:
        return message(2, array.tobytes())
    linear = (b"" if scale is None else message(1, scale.tobytes())) + (
        b"" if bias is None else message(2, bias.tobytes())
    )
    return message(30, array.tobytes()) + message(40, number(1, bits) + message(101, linear))


def conv(
    name: str,
    data: str,
    stored: bytes,
    shape: Sequence[int],
    *,
    groups: int = 1,
    stride: Sequence[int] = (1, 1),
    dilation: Sequence[int] = (1, 1),
    borders: Sequence[int] | None = (),
    is_up: bool = False,
) -> bytes:
    """A layer; shape: (out, in/groups, *kernel), or (in, out/groups, *kernel) where it is transposed."""
    outputs, inputs = (shape[1] * groups, shape[0]) if is_up else shape[:2]
    parameters = number(1, outputs) + number(2, inputs) + number(10, groups)
    parameters += packed(20, shape[2:]) + packed(30, stride) + packed(40, dilation)
    if borders is None:
        parameters += message(51, b"")
    else:
        pairs = zip(borders[::2], borders[1::2], strict=True)
        edges = b"".join(message(10, number(1, start) + number(2, end)) for start, end in pairs)
        parameters += message(50, message(1, edges) if edges else b"")
    parameters += number(60, int(is_up)) + message(90, stored)
    return layer(name, data, message(100, parameters))


def layer(name: str, data: str, parameters: bytes) -> bytes:
    return message(1, message(1, name.encode()) + message(2, data.encode()) + message(3, name.encode()) + parameters)


def one_conv(stored: bytes | None = None, **changed) -> bytes:
    """A network of one convolution."""
    made = {"shape": WEIGHT.shape, "groups": 2} | changed
    return model(conv("conv", "image", weights(WEIGHT) if stored is None else stored, **made))  # type: ignore[arg-type]  # fields by name, of several types


# Programs


def tensor_type(shape: Sequence[int], kind: int) -> bytes:
    sides = b"".join(message(3, message(1, number(1, side))) for side in shape)
    return message(1, number(1, kind) + number(2, len(shape)) + sides)


def value(array: np.ndarray | str) -> bytes:
    """A Value with its numbers in it."""
    if isinstance(array, str):
        return message(2, tensor_type((), 2)) + message(3, message(1, message(4, message(1, array.encode()))))
    if array.dtype.kind == "i" and array.dtype.itemsize == 4:
        content = message(2, packed(1, [int(each) for each in array.ravel()]))
    elif array.dtype == np.float32:
        content = message(1, message(1, array.tobytes()))
    else:
        content = message(7, message(1, array.tobytes()))
    return message(2, tensor_type(array.shape, TYPES[array.dtype.str])) + message(3, message(1, content))


def blob_value(shape: Sequence[int], kind: int, offset: int, name: str = "@model_path/" + SIDE) -> bytes:
    blob = message(1, name.encode()) + number(2, offset)
    return message(2, tensor_type(shape, kind)) + message(5, blob)


class Blobs:
    """A file of weights."""

    def __init__(self) -> None:
        self.content = struct.pack("<II", 0, 2) + bytes(56)

    def add(self, array: np.ndarray, *, sentinel: int = 0xDEADBEEF, size: int | None = None) -> bytes:
        """The Value of an array that is put into the file."""
        offset = len(self.content)
        length = array.nbytes if size is None else size
        self.content += struct.pack("<IIQQ", sentinel, 2, length, offset + 64).ljust(64, b"\0")
        self.content += array.tobytes() + bytes(-array.nbytes % 64)
        return blob_value(array.shape, TYPES[array.dtype.str], offset)


def operation(type_: str, output: str, attributes: Mapping[str, bytes] | None = None, **inputs: str | bytes) -> bytes:
    """An operation; inputs are names, or values."""
    content = message(1, type_.encode())
    for key, each in inputs.items():
        binding = message(1, each.encode()) if isinstance(each, str) else message(2, each)
        content += message(2, message(1, key.encode()) + message(2, message(1, binding)))
    content += message(3, message(1, output.encode()))
    for key, each in (attributes or {}).items():
        content += message(5, message(1, key.encode()) + message(2, each))
    return content


def const(name: str, stored: bytes) -> bytes:
    return operation("const", name, {"val": stored})


def program(*operations: bytes) -> bytes:
    block = b"".join(message(3, each) for each in operations)
    specialised = message(3, message(1, b"CoreML5") + message(2, block))
    return model(message(2, message(1, b"main") + message(2, specialised)), 502, 7)


def one_program(stored: bytes, type_: str = "conv", **inputs: str | bytes) -> bytes:
    """A program of one convolution, whose weight is a constant."""
    stated = {"x": "image", "weight": "w", "groups": value(np.array(2, "i4")), "pad_type": value("valid")} | inputs
    return program(const("w", stored), operation(type_, "conv", **stated))  # type: ignore[arg-type]  # fields by name, of several types


def hostile() -> Iterator[tuple[str, bytes, dict[str, bytes], str, str]]:
    """Label, content, the files beside it, the reason of the refusal, and part of its text."""
    good = one_conv()
    table = message(30, bytes(180)) + message(40, number(1, 8) + message(102, message(1, bytes(1024))))
    cases = {
        "cut short": (good[:-9], "malformed", "cut off"),
        "fewer numbers": (one_conv(weights(WEIGHT[1:])), "malformed", "bytes for"),
        "no numbers": (one_conv(b""), "malformed", "weights in 0 forms"),
        "numbers twice": (one_conv(weights(WEIGHT) * 2), "malformed", "weights in 2 forms"),
        "a look-up table": (one_conv(table), "unsupported", "look-up"),
        "four bits": (one_conv(weights(np.zeros(90, "u1"), scale=np.ones(1, "f4"), bits=4)), "unsupported", "4 bits"),
        "bytes without a scale": (one_conv(weights(np.zeros(180, "u1"))), "unsupported", "8 bits"),
        "seven scales": (one_conv(weights(np.zeros(180, "u1"), scale=np.ones(7, "f4"))), "malformed", "scales"),
        "a shape of 2^60": (one_conv(shape=(1 << 30, 1 << 30, 1, 1), groups=1), "malformed", "bytes for"),
        "a side of 0": (one_conv(shape=(6, 0, 3, 5)), "malformed", "of shape"),
        "three sides": (one_conv(shape=(6, 2, 3, 5, 1)), "malformed", "of shape"),
        "a stride of 0": (one_conv(stride=(0, 1)), "malformed", "strides"),
        "three strides": (one_conv(stride=(1, 1, 1)), "malformed", "strides"),
        "many strides": (one_conv(stride=(1,) * 99), "limit", "numbers"),
        "five groups": (one_conv(groups=5), "malformed", "groups"),
        "padding of three axes": (one_conv(borders=(1,) * 6), "malformed", "padding"),
        "no network": (model(message(1, b"x"), 600), "unsupported", "no neural network"),
        "layers that are no messages": (model(message(1, b"conv1") * 3), "unsupported", "a layer that cannot be read"),
    }
    for label, (content, reason, what) in cases.items():
        yield label, content, {}, reason, what
    nested = model(message(1, b""), 202)
    for _ in range(12):
        nested = model(message(1, nested), 202)
    yield "pipelines in pipelines", nested, {}, "limit", "deep"
    loops = conv("c", "x", weights(WEIGHT), WEIGHT.shape, groups=2)
    for _ in range(20):
        loops = layer("loop", "x", message(615, message(4, loops)))
    yield "loops in loops", model(loops), {}, "limit", "deep"
    yield from _hostile_programs()


def _hostile_programs() -> Iterator[tuple[str, bytes, dict[str, bytes], str, str]]:
    blobs = Blobs()
    good = one_program(blobs.add(WEIGHT))
    side = {SIDE: blobs.content}
    yield "no file of weights", good, {}, "malformed", "side file"
    yield "weights cut short", good, {SIDE: blobs.content[:-100]}, "malformed", "a blob of"
    yield "no blob", good, {SIDE: bytes(2000)}, "malformed", "no blob starts"
    away = blob_value(WEIGHT.shape, 11, 1 << 40)
    yield "a far blob", one_program(away), side, "malformed", "outside the file"
    larger = blob_value((6, 2, 3, 6), 11, 64)
    yield "a blob of another size", one_program(larger), side, "malformed", "a blob of"
    for name in ("../w.bin", "/etc/passwd", "a/../../w.bin"):
        outside = blob_value(WEIGHT.shape, 11, 64, "@model_path/" + name)
        yield f"weights in {name}", one_program(outside), side, "unsafe", "side file"
    elsewhere = blob_value(WEIGHT.shape, 11, 64, "/etc/passwd")
    yield "weights elsewhere", one_program(elsewhere), side, "malformed", "not beside the model"
    here = value(WEIGHT)
    yield "numbers that do not fill a shape", one_program(
        here.replace(tensor_type(WEIGHT.shape, 11), tensor_type((6, 2, 3, 6), 11))
    ), {}, "malformed", "bytes for"  # fmt: skip
    yield "many axes", one_program(blob_value((1,) * 40, 11, 64)), side, "limit", "axes"
    yield "no weight", program(operation("conv", "c", x="image")), {}, "malformed", "without a weight"
    yield "four groups", one_program(here, groups=value(np.array(4, "i4"))), {}, "malformed", "4 groups"
    yield "strides of one axis", one_program(here, strides=value(np.array([1], "i4"))), {}, "malformed", "strides"
    yield "an odd padding", one_program(here, pad_type=value("what")), {}, "malformed", "pad_type"
    yield "another convolution", one_program(here, "deform_conv"), {}, "unsupported", "not known"
    looked = [
        const("q", here),
        operation("constexpr_lut_to_dense", "w", lut="q"),
        operation("conv", "c", x="i", weight="w"),
    ]
    yield "a look-up table of a program", program(*looked), {}, "unsupported", "constexpr_lut_to_dense"
    whole = value(WEIGHT.astype("i1"))
    yield "integers", one_program(whole), {}, "unsupported", "without a scale"
