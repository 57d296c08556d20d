"""Weights that are not stored but follow from stored tensors, as their framework computes them (docs/selection.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from filterzoo.errors import Reason, Refused
from filterzoo.records import Computation, Evidence, Span, Step, Tensor, Way

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

MAX_STEPS = 64
"""Most computed tensors that one weight is made of."""


def computed(
    name: str, shape: Sequence[int], way: Way, step: Step, *inputs: Tensor, numbers: Sequence[int] = ()
) -> Tensor:
    """A tensor of that name and shape, made of others by one step."""
    return Tensor(
        name=name,
        dtype="F32",
        shape=tuple(shape),
        span=Span(0, 0),
        section=inputs[0].section,
        evidence=Evidence.FORMAT,
        computation=Computation(way, step, inputs, tuple(numbers)),
    )


def stored_tensors(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors whose bytes a weight is made of: itself, unless it is computed. LIMIT where they are too many."""
    pending, steps = [tensor], 0
    while pending:
        each = pending.pop()
        if each.computation is None:
            yield each
            continue
        steps += 1
        if steps > MAX_STEPS or len(each.computation.inputs) > MAX_STEPS:
            raise Refused(Reason.LIMIT, f"a weight computed in more than {MAX_STEPS} steps", tensor.name[:200])
        pending += reversed(each.computation.inputs)


def apply(computation: Computation, inputs: Sequence[Floats], shape: Sequence[int], name: str) -> Floats:
    """The result of one step; Refused (malformed) where the inputs do not give `shape`."""
    try:
        with np.errstate(all="ignore"):
            result = _result(computation.step, inputs, computation.numbers, tuple(shape))
    except (ValueError, TypeError, IndexError) as error:
        detail = f"{computation.step} of shapes {[each.shape for each in inputs]} is not possible"
        raise Refused(Reason.MALFORMED, detail[:200], name[:200]) from error
    if result.shape != tuple(shape):
        detail = f"{computation.step} gives the shape {result.shape}, not {tuple(shape)}"
        raise Refused(Reason.MALFORMED, detail[:200], name[:200])
    return np.ascontiguousarray(result, np.float32)


def _result(step: Step, inputs: Sequence[Floats], numbers: Sequence[int], shape: tuple[int, ...]) -> Array:
    first = inputs[0]
    match step:
        case Step.MULTIPLY | Step.DIVIDE | Step.ADD | Step.SUBTRACT:
            _, second = inputs
            if np.broadcast_shapes(first.shape, second.shape) != shape:  # before memory is taken for it
                raise ValueError
            arithmetic: Array = _ARITHMETIC[step](first, second)
            return arithmetic
        case Step.NORM:
            squares = np.square(first, dtype=np.float64).sum(axis=tuple(numbers), keepdims=True)
            norms: Array = np.sqrt(squares).astype(np.float32)
            return norms
        case Step.SINGULAR:
            _, left, right = inputs
            matrix = np.moveaxis(first, numbers[0], 0).reshape(first.shape[numbers[0]], -1)
            value = left.reshape(-1).astype(np.float64) @ (matrix.astype(np.float64) @ right.reshape(-1))
            return np.asarray(value, np.float32)
        case Step.TRANSPOSE:
            return first.transpose(numbers)
        case Step.RESHAPE:
            return first.reshape(tuple(numbers))
        case Step.CONCATENATE:
            return np.concatenate(inputs, axis=numbers[0])
        case Step.REPEAT:
            return _repeated(first, numbers, shape)


def _repeated(array: Floats, times: Sequence[int], shape: tuple[int, ...]) -> Array:
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


_ARITHMETIC: dict[Step, np.ufunc] = {
    Step.MULTIPLY: np.multiply,
    Step.DIVIDE: np.divide,
    Step.ADD: np.add,
    Step.SUBTRACT: np.subtract,
}


def numbers_of(tensor: Tensor) -> int:
    """How many numbers a tensor and everything that is computed for it have together."""
    total, pending = 0, [tensor]
    while pending:
        each = pending.pop()
        total += prod(each.shape)
        if each.computation is not None:
            pending += each.computation.inputs
    return total
