"""Weights that are computed from stored tensors: every step, what does not fit, and what would cost too much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.memory_file import MemoryFile

from filterzoo.computation import Step, Way
from filterzoo.errors import Reason, Refused
from filterzoo.jail.validation import validate
from filterzoo.layers.computations import MAX_STEPS, computed, numbers_of, stored_tensors
from filterzoo.layers.normalise import normalise, read
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Context, Convolution, Evidence, FileFacts, Index, Kind, Span, Tensor

RANDOM = np.random.default_rng(5)


class Stored:
    """Arrays in a file of their own, and the tensors that describe them."""

    def __init__(self) -> None:
        self.data = b""

    def add(self, array: np.ndarray) -> Tensor:
        span = Span(len(self.data), array.nbytes)
        self.data += array.tobytes()
        return Tensor(name=f"at {span.offset}", dtype="F32", shape=array.shape, span=span)

    def numbers(self, tensor: Tensor) -> np.ndarray:
        with TensorReader(MemoryFile(self.data)) as reader:
            return read(tensor, reader)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype("<f4")


def step(kind: Step, arrays: list[np.ndarray], shape: tuple[int, ...], numbers: tuple[int, ...] = ()) -> np.ndarray:
    file = Stored()
    return file.numbers(computed("w", shape, Way.FOLDED, kind, *map(file.add, arrays), numbers=numbers))


def test_each_step_gives_what_numpy_gives():
    a, b = normal(4, 3, 2), normal(4, 1, 1)
    assert np.array_equal(step(Step.MULTIPLY, [a, b], a.shape), a * b)
    assert np.array_equal(step(Step.DIVIDE, [a, b], a.shape), a / b)
    assert np.array_equal(step(Step.ADD, [a, b], a.shape), a + b)
    assert np.array_equal(step(Step.SUBTRACT, [a, b], a.shape), a - b)
    norms = np.sqrt((a.astype("f8") ** 2).sum((1, 2), keepdims=True)).astype("f4")
    assert np.array_equal(step(Step.NORM, [a], (4, 1, 1), (1, 2)), norms)
    assert np.array_equal(step(Step.TRANSPOSE, [a], (2, 4, 3), (2, 0, 1)), a.transpose(2, 0, 1))
    assert np.array_equal(step(Step.RESHAPE, [a], (12, 2), (12, 2)), a.reshape(12, 2))
    assert np.array_equal(step(Step.CONCATENATE, [a, a], (8, 3, 2), (0,)), np.concatenate([a, a]))
    blocks = normal(2, 2)
    assert np.array_equal(step(Step.REPEAT, [blocks], (3, 4), (2, 2)), blocks.repeat(2, 0).repeat(2, 1)[:3])
    u, v = normal(3), normal(8)
    expected = u.astype("f8") @ np.moveaxis(a, 1, 0).reshape(3, 8).astype("f8") @ v
    assert np.isclose(step(Step.SINGULAR, [a, u, v], (), (1,)), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "shapes", "result", "numbers"),
    [
        (Step.MULTIPLY, [(4, 3), (5, 1)], (4, 3), ()),
        (Step.MULTIPLY, [(4, 3)], (4, 3), ()),
        (Step.MULTIPLY, [(1 << 20, 1), (1, 1 << 20)], (4, 3), ()),
        (Step.TRANSPOSE, [(4, 3)], (3, 4), (1, 1)),
        (Step.RESHAPE, [(4, 3)], (5, 3), (5, 3)),
        (Step.NORM, [(4, 3)], (4, 1), (7,)),
        (Step.CONCATENATE, [(4, 3), (4, 3)], (4, 3), (0,)),
        (Step.REPEAT, [(4, 3)], (4, 3), (1 << 40, 1)),
        (Step.SINGULAR, [(4, 3), (4,), (4,)], (), (0,)),
    ],
)
def test_inputs_that_do_not_give_the_shape_are_refused_before_memory_is_taken(kind, shapes, result, numbers):
    with pytest.raises(Refused) as caught:
        step(kind, [np.zeros(shape, "<f4") for shape in shapes], result, numbers)
    assert caught.value.reason is Reason.MALFORMED


def layer(file: Stored) -> Tensor:
    weight, mask = file.add(normal(8, 3, 3, 3)), file.add((normal(8, 3, 3, 3) > 0).astype("<f4"))
    product = computed("conv.weight", (8, 3, 3, 3), Way.MASK, Step.MULTIPLY, weight, mask)
    convolution = Convolution(kind=Kind.CONV, context=Context.DECLARED, groups=1)
    return Tensor(**{name: getattr(product, name) for name in product.__slots__} | {"convolution": convolution})


def test_a_computed_layer_says_so():
    file = Stored()
    tensor = layer(file)
    with TensorReader(MemoryFile(file.data)) as reader:
        (made,) = normalise([tensor], reader)
    assert (made.computed, made.evidence, made.dtype) == (Way.MASK, Evidence.FORMAT, "F32")
    assert np.array_equal(made.weights, file.numbers(tensor))


def index(tensor: Tensor) -> Index:
    return Index(format="torch", facts=FileFacts(), tensor_count=2, convolutions=(tensor,))


def test_the_parent_checks_the_bytes_of_every_part():
    file = Stored()
    tensor = layer(file)
    validate(index(tensor), len(file.data))
    with pytest.raises(Refused, match="outside the file"):
        validate(index(tensor), len(file.data) - 1)


def test_a_weight_of_too_many_steps_is_refused():
    tensor = Stored().add(normal(2, 2, 2))
    for _ in range(MAX_STEPS + 1):
        tensor = computed("w", (2, 2, 2), Way.FOLDED, Step.TRANSPOSE, tensor, numbers=(0, 1, 2))
    with pytest.raises(Refused, match="steps"):
        list(stored_tensors(tensor))
    assert numbers_of(tensor) == 8 * (MAX_STEPS + 2)


def test_each_step_of_a_graph_gives_what_numpy_gives():
    a, b = normal(4, 3, 2), np.abs(normal(4, 1, 1))
    assert np.array_equal(step(Step.POWER, [b, a], a.shape), b**a)
    assert np.array_equal(step(Step.MINIMUM, [a, b], a.shape), np.minimum(a, b))
    assert np.array_equal(step(Step.MAXIMUM, [a, b], a.shape), np.maximum(a, b))
    assert np.array_equal(step(Step.NEGATE, [a], a.shape), -a)
    assert np.array_equal(step(Step.ABSOLUTE, [a], a.shape), np.abs(a))
    assert np.array_equal(step(Step.SQUARE_ROOT, [b], b.shape), np.sqrt(b))
    assert np.array_equal(step(Step.SUM, [a], (4, 1, 1), (1, 2)), a.sum((1, 2), "f8", keepdims=True).astype("f4"))
    assert np.array_equal(step(Step.MEAN, [a], (1, 1, 1), (0, 1, 2)).item(), np.float32(a.mean(dtype="f8")))
    assert np.array_equal(step(Step.LARGEST, [a], (4, 3, 1), (2,)), a.max(2, keepdims=True))
    m, n = normal(5, 6), normal(6, 7)
    assert np.allclose(step(Step.MATRIX_PRODUCT, [m, n], (5, 7)), m @ n, atol=1e-6)
    assert np.array_equal(step(Step.SLICE, [a], (2, 3, 1), (3, -2, 2, 0, 1, 3, 1, 1, 1)), a[3::-2, :, 1:])
    assert np.array_equal(step(Step.TAKE, [a], (4, 2, 2), (1, 2, 0)), a[:, [2, 0]])
    assert np.array_equal(step(Step.SPREAD, [b], (4, 5, 2)), np.broadcast_to(b, (4, 5, 2)))
    assert np.array_equal(step(Step.ROUND, [a], a.shape, (5, 10)), a.astype("f2").astype("f4"))
    bfloat16 = torch.from_numpy(a).to(torch.bfloat16).float().numpy()
    assert np.array_equal(step(Step.ROUND, [a], a.shape, (8, 7)), bfloat16)
    scale = np.full((4, 1, 1), 0.01, "f4")
    expected = np.clip(np.rint(a / scale) + np.float32(3), -128, 127)
    assert np.array_equal(
        step(Step.QUANTISE, [a, scale, np.full((1, 1, 1), 3, np.float32)], a.shape, (-128, 127)), expected
    )


@pytest.mark.parametrize(
    ("kind", "shapes", "result", "numbers"),
    [
        (Step.SLICE, [(4,)], (2,), (0, 1)),
        (Step.SLICE, [(4,)], (2,), (3, 1, 2)),
        (Step.SLICE, [(4,)], (2,), (0, 0, 2)),
        (Step.TAKE, [(4,)], (1,), (0, 4)),
        (Step.TAKE, [(4,)], (1,), (0, 1 << 80)),
        (Step.SPREAD, [(4,)], (3,), ()),
        (Step.MATRIX_PRODUCT, [(4, 2), (3, 4)], (4, 4), ()),
        (Step.QUANTISE, [(4,), (3,)], (4,), (0, 255)),
        (Step.ROUND, [(4,)], (4,), (3, 3)),
        (Step.LARGEST, [(4,)], (1,), (1,)),
    ],
)
def test_steps_of_a_graph_that_do_not_fit_are_refused(kind, shapes, result, numbers):
    with pytest.raises(Refused) as caught:
        step(kind, [np.zeros(shape, "<f4") for shape in shapes], result, numbers)
    assert caught.value.reason is Reason.MALFORMED


def decoded(step: Step, parts: list[np.ndarray], dtype: str, shape: tuple[int, ...], numbers=()) -> np.ndarray:
    file = Stored()
    names = {"u1": "U8", "i4": "I32", "f4": "F32", "i1": "I8", "f2": "F16", "u2": "U16"}
    inputs = tuple(replace(file.add(part), dtype=names[part.dtype.str[1:]]) for part in parts)
    return file.numbers(replace(computed("w", shape, Way.PACKED, step, *inputs, numbers=numbers), dtype=dtype))


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


@pytest.mark.parametrize(
    ("dtype", "array"),
    [
        ("I8", np.arange(-128, 128, dtype="i1")),
        ("U8", np.arange(256, dtype="u1")),
        ("I64", np.array([-(1 << 63), -1, 0, 1, (1 << 63) - 1], "i8")),
        ("F16", normal(20).astype("f2")),
        ("BOOL", np.array([True, False])),
    ],
)
def test_varints_are_the_numbers_they_pack(dtype, array):
    bits = array.view(f"i{array.itemsize}") if dtype != "F16" else array.view("u2")
    content = np.frombuffer(b"".join(varint(int(number)) for number in bits), "u1")
    assert np.array_equal(decoded(Step.VARINTS, [content], dtype, array.shape), array)
    for broken in (content[:-1], np.append(content, np.uint8(0)), np.append(content[:-1], np.full(12, 0x80, "u1"))):
        with pytest.raises(Refused):
            decoded(Step.VARINTS, [broken], dtype, array.shape)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_integers_of_few_bits(bits, signed):
    low = -(1 << bits - 1) if signed else 0
    numbers = np.random.default_rng(1).integers(low, low + (1 << bits), 11)
    packed = bytearray((len(numbers) * bits + 7) // 8)
    for place, number in enumerate(numbers):
        packed[place * bits // 8] |= (int(number) & (1 << bits) - 1) << place * bits % 8
    content = np.frombuffer(bytes(packed), "u1")
    found = decoded(Step.BITS, [content], "I8" if signed else "U8", (11,), (bits, signed))
    assert found.tolist() == numbers.tolist()
    with pytest.raises(Refused):
        decoded(Step.BITS, [content[:-1]], "I8", (11,), (bits, signed))


def test_a_sparse_array_with_blocks():
    """A 4x4 matrix of 2x2 blocks in compressed rows, as schema.fbs has it for example."""
    dense = np.zeros((4, 4), "f4")
    dense[:2, :2] = [[1, 2], [3, 4]]
    dense[2:, 2:] = [[5, 6], [7, 8]]
    values = np.array([1, 2, 3, 4, 5, 6, 7, 8], "f4")
    segments, indices = np.array([0, 1, 2], "i4"), np.array([0, 1], "u1")
    numbers = (4, 0, 1, 2, 3, 0, 1, 2, -1, 2, 2)
    assert np.array_equal(decoded(Step.DENSIFY, [values, segments, indices], "F32", (4, 4), numbers), dense)
    wrong = [
        ([values[:-1], segments, indices], numbers),
        ([values, np.array([0, 2, 1], "i4"), indices], numbers),
        ([values, segments, np.array([0, 9], "u1")], numbers),
        ([values, segments, indices], (4, 0, 1, 2, 2, 0, 1, 2, -1, 2, 2)),
        ([values, segments, indices], (4, 0, 1, 2, 3, 0, 0, 2, -1, 2, 2)),
        ([values, segments, indices], (4, 0, 1, 2, 3, 0, 1, 1 << 40, -1, 2, 2)),
        ([values, segments], numbers),
        ([values, segments, indices], ()),
    ]
    for parts, other in wrong:
        with pytest.raises(Refused):
            decoded(Step.DENSIFY, parts, "F32", (4, 4), other)
