"""Weights that are not stored but follow from stored tensors, as their framework computes them (docs/selection.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from filterzoo.errors import Reason, Refused
from filterzoo.records import Computation, Step

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


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
