"""Weights that are computed from stored tensors: every step, what does not fit, and what would cost too much."""

from __future__ import annotations

import numpy as np
import pytest
from tests.memory_file import MemoryFile

from filterzoo.errors import Reason, Refused
from filterzoo.jail.validation import validate
from filterzoo.layers.computations import MAX_STEPS, computed, numbers_of, stored_tensors
from filterzoo.layers.normalise import normalise, read
from filterzoo.layers.stored import TensorReader
from filterzoo.records import Context, Convolution, Evidence, FileFacts, Index, Kind, Span, Step, Tensor, Way

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
