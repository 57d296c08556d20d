"""Weights derived from stored tensors, computed as their framework does (docs/selection.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from filterzoo.computation import Step
from filterzoo.errors import Reason, Refused
from filterzoo.records import Computation

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Operation = Callable[[Sequence[Floats], Sequence[int], tuple[int, ...]], Array]
"""The result of a step, from its inputs, its numbers and the shape that the result must have."""

MAX_PRODUCTS = 1 << 36
"""Most multiplications of one matrix product: a few seconds."""


def apply(computation: Computation, inputs: Sequence[Floats], shape: Sequence[int], name: str) -> Floats:
    """The result of one step; Refused (malformed) if the inputs do not give `shape`."""
    try:
        with np.errstate(all="ignore"):
            result = _OPERATIONS[computation.step](inputs, computation.numbers, tuple(shape))
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        detail = f"{computation.step} of shapes {[each.shape for each in inputs]} is not possible"
        raise Refused(Reason.MALFORMED, detail[:200], name[:200]) from error
    if result.shape != tuple(shape):
        detail = f"{computation.step} gives the shape {result.shape}, not {tuple(shape)}"
        raise Refused(Reason.MALFORMED, detail[:200], name[:200])
    return np.ascontiguousarray(result, np.float32).reshape(tuple(shape))


def _elementwise(function: Callable[..., Array], count: int) -> Operation:
    """A function of `count` arrays, with NumPy's broadcasting."""

    def operation(inputs: Sequence[Floats], _numbers: Sequence[int], shape: tuple[int, ...]) -> Array:
        if len(inputs) != count or np.broadcast_shapes(*(each.shape for each in inputs)) != shape:
            raise ValueError  # before memory is allocated
        return function(*inputs)

    return operation


def _reduction(function: Callable[[Floats, tuple[int, ...]], Array]) -> Operation:
    return lambda inputs, numbers, _: function(inputs[0], tuple(numbers))


def _norm(array: Floats, axes: tuple[int, ...]) -> Array:
    norms: Array = np.sqrt(np.square(array, dtype=np.float64).sum(axis=axes, keepdims=True)).astype(np.float32)
    return norms


def _singular(inputs: Sequence[Floats], numbers: Sequence[int], _: tuple[int, ...]) -> Array:
    weight, left, right = inputs
    matrix = np.moveaxis(weight, numbers[0], 0).reshape(weight.shape[numbers[0]], -1)
    value = left.reshape(-1).astype(np.float64) @ (matrix.astype(np.float64) @ right.reshape(-1))
    return np.asarray(value, np.float32)


def _repeated(inputs: Sequence[Floats], times: Sequence[int], shape: tuple[int, ...]) -> Array:
    array = inputs[0]
    if len(times) != array.ndim or array.ndim != len(shape):
        raise ValueError
    for axis, (count, length) in enumerate(zip(times, shape, strict=True)):
        if count < 1 or not array.shape[axis] * count - count < length <= array.shape[axis] * count:
            raise ValueError
    result: Array = array
    for axis, (count, length) in enumerate(zip(times, shape, strict=True)):
        if count > 1:
            result = np.repeat(result, count, axis=axis).take(np.arange(length), axis=axis)
    return result


def _matrix_product(inputs: Sequence[Floats], _: Sequence[int], shape: tuple[int, ...]) -> Array:
    first, second = inputs
    if first.ndim != 2 or second.ndim != 2 or (first.shape[0], second.shape[1]) != shape:
        raise ValueError
    work = first.shape[0] * first.shape[1] * second.shape[1]
    if work > MAX_PRODUCTS:
        raise Refused(Reason.LIMIT, f"a product of matrices that takes {work} multiplications")
    product: Array = first.astype(np.float64) @ second.astype(np.float64)
    return product


def _sliced(inputs: Sequence[Floats], numbers: Sequence[int], _: tuple[int, ...]) -> Array:
    array = inputs[0]
    if len(numbers) != 3 * array.ndim:
        raise ValueError
    return array[tuple(_slice(numbers[3 * axis : 3 * axis + 3], side) for axis, side in enumerate(array.shape))]


def _slice(numbers: Sequence[int], side: int) -> slice:
    first, step, count = numbers
    last = first + step * (count - 1)
    if step == 0 or count < 1 or not (0 <= first < side and 0 <= last < side):
        raise ValueError
    stop = last + step
    return slice(first, stop if stop >= 0 else None, step)


def _taken(inputs: Sequence[Floats], numbers: Sequence[int], shape: tuple[int, ...]) -> Array:
    (array,), (axis, *indices) = inputs, numbers
    if (*array.shape[:axis], len(indices), *array.shape[axis + 1 :]) != shape:
        raise ValueError
    return array.take(indices, axis=axis)


def _quantised(inputs: Sequence[Floats], numbers: Sequence[int], shape: tuple[int, ...]) -> Array:
    array, scale, *zero = inputs
    low, high = numbers
    if np.broadcast_shapes(*(each.shape for each in inputs)) != shape or len(zero) > 1:
        raise ValueError
    steps = np.rint(array / scale)
    result: Array = np.clip(steps + zero[0] if zero else steps, np.float32(low), np.float32(high))
    return result


def _rounded(inputs: Sequence[Floats], numbers: Sequence[int], _: tuple[int, ...]) -> Array:
    array = inputs[0]
    if tuple(numbers) == (5, 10):
        return array.astype(np.float16)
    if tuple(numbers) != (8, 7):
        raise ValueError
    bits = array.view(np.uint32)
    rounded = (bits + (0x7FFF + (bits >> 16 & 1))) & 0xFFFF0000
    return np.where(np.isnan(array), array, rounded.astype(np.uint32).view(np.float32))


_OPERATIONS: dict[Step, Operation] = {
    Step.MULTIPLY: _elementwise(np.multiply, 2),
    Step.DIVIDE: _elementwise(np.divide, 2),
    Step.ADD: _elementwise(np.add, 2),
    Step.SUBTRACT: _elementwise(np.subtract, 2),
    Step.POWER: _elementwise(np.power, 2),
    Step.MINIMUM: _elementwise(np.minimum, 2),
    Step.MAXIMUM: _elementwise(np.maximum, 2),
    Step.NEGATE: _elementwise(np.negative, 1),
    Step.ABSOLUTE: _elementwise(np.absolute, 1),
    Step.SQUARE_ROOT: _elementwise(np.sqrt, 1),
    Step.RECIPROCAL: _elementwise(np.reciprocal, 1),
    Step.NORM: _reduction(_norm),
    Step.SUM: _reduction(lambda array, axes: array.sum(axis=axes, keepdims=True, dtype=np.float64)),
    Step.MEAN: _reduction(lambda array, axes: array.mean(axis=axes, keepdims=True, dtype=np.float64)),
    Step.LARGEST: _reduction(lambda array, axes: array.max(axis=axes, keepdims=True)),
    Step.SINGULAR: _singular,
    Step.TRANSPOSE: lambda inputs, numbers, _: inputs[0].transpose(numbers),
    Step.RESHAPE: lambda inputs, numbers, _: inputs[0].reshape(tuple(numbers)),
    Step.CONCATENATE: lambda inputs, numbers, _: np.concatenate(inputs, axis=numbers[0]),
    Step.REPEAT: _repeated,
    Step.MATRIX_PRODUCT: _matrix_product,
    Step.SLICE: _sliced,
    Step.TAKE: _taken,
    Step.SPREAD: lambda inputs, _, shape: np.broadcast_to(inputs[0], shape),
    Step.QUANTISE: _quantised,
    Step.ROUND: _rounded,
    Step.NUMBER: lambda _, numbers, __: np.array(numbers[0], np.uint32).view(np.float32),
}
