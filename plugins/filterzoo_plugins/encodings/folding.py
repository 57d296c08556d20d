"""Constant folding: operations of graphs on constants, as steps that compute a weight.

Shapes are known, elements are not.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from math import ceil, prod

from filterzoo import DTYPES, NumberClass, Quantisation, Step, Tensor, Way, computed

HALF = {"F16": (5, 10), "BF16": (8, 7)}
"""Bits of exponent and mantissa of the types to which results are rounded."""
MAX_INDICES = 1 << 16
"""Most indices of one Gather."""


class Unfoldable(Exception):  # named after the event
    """Raised if operands do not fit the operation, or it cannot be computed from them; the message says why."""


def floating(tensor: Tensor) -> Tensor:
    """The tensor as an operand: integers and booleans become floats of the same value."""
    number_class = DTYPES[tensor.dtype].number_class
    if tensor.computation is not None and tensor.dtype == "F32":
        return tensor
    if tensor.dtype == "BOOL":
        return replace(tensor, dtype="U8", quantisation=Quantisation((1.0,), (0,)))
    if number_class is NumberClass.OTHER:
        raise Unfoldable(f"numbers of type {tensor.dtype} in an operation")
    if number_class is NumberClass.INTEGER and tensor.quantisation is None:
        return replace(tensor, quantisation=Quantisation((1.0,), (0,)))
    return tensor


def elementwise(step: Step, *operands: Tensor) -> Tensor:
    """An elementwise step with NumPy's broadcasting."""
    shape = broadcast(*(operand.shape for operand in operands))
    return _folded(shape, step, operands)


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The broadcast shape of several shapes."""
    rank = max(map(len, shapes))
    sides: list[int] = []
    for axis in range(-rank, 0):
        present = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(present) > 1:
            raise Unfoldable(f"shapes {[tuple(shape) for shape in shapes]} do not fit each other")
        sides.append(present.pop() if present else 1)
    return tuple(sides)


def transposed(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """The tensor with its axes in another order."""
    if sorted(order) != list(range(len(tensor.shape))):
        raise Unfoldable(f"axes {tuple(order)} are not those of shape {tensor.shape}")
    if list(order) == sorted(order):
        return tensor
    return _folded([tensor.shape[axis] for axis in order], Step.TRANSPOSE, (tensor,), order)


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The same elements in C order; one side may be -1, which is then computed."""
    sides = list(shape)
    rest = prod(side for side in sides if side != -1)
    if sides.count(-1) == 1 and rest > 0:
        sides[sides.index(-1)] = prod(tensor.shape) // rest
    if min(sides, default=0) < 0 or prod(sides) != prod(tensor.shape):
        raise Unfoldable(f"shape {tensor.shape} becomes no {tuple(shape)}")
    return tensor if tuple(sides) == tensor.shape else _folded(sides, Step.RESHAPE, (tensor,), sides)


def concatenated(tensors: Sequence[Tensor], axis: int) -> Tensor:
    """The tensors joined along an axis."""
    first = tensors[0].shape
    axis = axis_from_front(axis, len(first))
    other_sides = {(len(t.shape), t.shape[:axis], t.shape[axis + 1 :]) for t in tensors}
    if len(other_sides) != 1:
        raise Unfoldable(f"shapes {[t.shape for t in tensors][:4]} cannot be joined along axis {axis}")
    shape = (*first[:axis], sum(t.shape[axis] for t in tensors), *first[axis + 1 :])
    return tensors[0] if len(tensors) == 1 else _folded(shape, Step.CONCATENATE, tensors, (axis,))


def sliced(tensor: Tensor, parts: Sequence[tuple[int, int, int, int]]) -> Tensor:
    """Slices, (axis, start, end, step), clamped as in Python."""
    numbers = [(0, 1, side) for side in tensor.shape]
    for axis, start, end, step in parts:
        at = axis_from_front(axis, len(tensor.shape))
        if step == 0:
            raise Unfoldable("a step of 0")
        chosen = range(tensor.shape[at])[slice(start, end if end > -(1 << 31) else None, step)]
        numbers[at] = (chosen.start, chosen.step, len(chosen))
    shape = [count for _, _, count in numbers]
    if 0 in shape:
        raise Unfoldable("an empty part of an array")
    if tuple(shape) == tensor.shape and all(step == 1 for _, step, _ in numbers):
        return tensor
    return _folded(shape, Step.SLICE, (tensor,), [number for part in numbers for number in part])


def taken(tensor: Tensor, axis: int, indices: Sequence[int]) -> Tensor:
    """The slices of a tensor at these indices of an axis."""
    at = axis_from_front(axis, len(tensor.shape))
    side = tensor.shape[at]
    counted = [index + side if index < 0 else index for index in indices]
    if not counted or len(counted) > MAX_INDICES or any(not 0 <= index < side for index in counted):
        raise Unfoldable(f"indices that are not those of an axis of length {side}")
    return _folded((*tensor.shape[:at], len(counted), *tensor.shape[at + 1 :]), Step.TAKE, (tensor,), (at, *counted))


def spread(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The tensor broadcast to a shape, as by NumPy and ONNX's Expand."""
    both = broadcast(tensor.shape, shape)
    return tensor if both == tensor.shape else _folded(both, Step.SPREAD, (tensor,))


def reduced(step: Step, tensor: Tensor, axes: Sequence[int] | None, *, keep: bool) -> Tensor:
    """A norm, sum, mean or maximum over axes; None: over all."""
    rank = len(tensor.shape)
    chosen = sorted({axis_from_front(axis, rank) for axis in axes}) if axes else list(range(rank))
    shape = [1 if axis in chosen else side for axis, side in enumerate(tensor.shape)]
    result = _folded(shape, step, (tensor,), chosen)
    return result if keep else reshaped(result, [side for axis, side in enumerate(shape) if axis not in chosen])


def product(first: Tensor, second: Tensor) -> Tensor:
    """Matrix product; a vector is a row on the left and a column on the right."""
    if not 1 <= len(first.shape) <= 2 or not 1 <= len(second.shape) <= 2:
        raise Unfoldable("a product of more than two axes")
    rows = first if len(first.shape) == 2 else reshaped(first, (1, *first.shape))
    columns = second if len(second.shape) == 2 else reshaped(second, (*second.shape, 1))
    if rows.shape[1] != columns.shape[0]:
        raise Unfoldable(f"matrices of {rows.shape} and {columns.shape} have no product")
    result = _folded((rows.shape[0], columns.shape[1]), Step.MATRIX_PRODUCT, (rows, columns))
    return reshaped(result, (*first.shape[:-1], *second.shape[1:]))


def rounded(tensor: Tensor, dtype: str) -> Tensor:
    """The tensor rounded to a type; all computations are in float32."""
    if dtype == "F32":
        return tensor
    if dtype not in HALF:
        raise Unfoldable(f"arithmetic in {dtype}")
    return _folded(tensor.shape, Step.ROUND, (tensor,), HALF[dtype])


def along(parameter: Tensor, tensor: Tensor, axis: int, block: int = 0) -> Tensor:
    """Scales or zero points in a shape that fits the tensor: one for all, one a slice along `axis`, or one a block."""
    if prod(parameter.shape) == 1:
        return reshaped(parameter, (1,) * len(tensor.shape))
    at = axis_from_front(axis, len(tensor.shape))
    if block and len(parameter.shape) == len(tensor.shape):
        expected = tuple(ceil(side / block) if axis == at else side for axis, side in enumerate(tensor.shape))
        if parameter.shape != expected:
            raise Unfoldable(f"{parameter.shape} scales do not fit blocks of {block} in shape {tensor.shape}")
        times = [block if axis == at else 1 for axis in range(len(tensor.shape))]
        return _folded(tensor.shape, Step.REPEAT, (parameter,), times)
    if parameter.shape != (tensor.shape[at],):
        raise Unfoldable(f"{parameter.shape} scales do not fit axis {at} of shape {tensor.shape}")
    return reshaped(parameter, [side if place == at else 1 for place, side in enumerate(tensor.shape)])


def quantised(tensor: Tensor, parameters: Sequence[Tensor], bounds: tuple[int, int]) -> Tensor:
    """round(x / scale) + zero point within bounds; scale and zero point, if any, already fit the tensor (`along`)."""
    shape = broadcast(tensor.shape, *(parameter.shape for parameter in parameters))
    return _folded(shape, Step.QUANTISE, (tensor, *parameters), bounds)


def dequantised(tensor: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """(q - zero point) * scale, where both already fit the tensor (`along`)."""
    difference = tensor if zero is None else elementwise(Step.SUBTRACT, tensor, zero)
    return elementwise(Step.MULTIPLY, difference, scale)


def packed(
    tensor: Tensor, shape: Sequence[int], dtype: str, step: Step, *parts: Tensor, numbers: Sequence[int]
) -> Tensor:
    """An array that is stored packed in `tensor` and `parts`."""
    whole = computed(tensor.name, shape, Way.PACKED, step, tensor, *parts, numbers=numbers)
    return replace(whole, dtype=dtype)


def number(value: float) -> Tensor:
    """A constant from the graph, as float32."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return computed("", (), Way.FOLDED, Step.NUMBER, numbers=(bits,))


def axis_from_front(axis: int, rank: int) -> int:
    """A possibly negative axis, counted from the front."""
    at = axis + rank if axis < 0 else axis
    if not 0 <= at < rank:
        raise Unfoldable(f"there is no axis {axis} among {rank}")
    return at


def _folded(shape: Sequence[int], step: Step, operands: Sequence[Tensor], numbers: Sequence[int] = ()) -> Tensor:
    """The result, named after the operand with the most elements, which is the weight."""
    operands = [floating(operand) for operand in operands]
    name = max(operands, key=lambda operand: prod(operand.shape)).name
    return replace(computed(name, shape, Way.FOLDED, step, *operands, numbers=numbers), section="")
