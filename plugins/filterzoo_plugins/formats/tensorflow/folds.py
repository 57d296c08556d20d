"""Constant folding of TensorFlow: a closed set of operations, as steps that compute the weight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Protocol

from filterzoo import Step, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.tensorflow.document import Node
from filterzoo_plugins.formats.tensorflow.types import DTYPES_BY_NUMBER

_BINARY = {
    "Add": Step.ADD,
    "AddV2": Step.ADD,
    "Sub": Step.SUBTRACT,
    "Mul": Step.MULTIPLY,
    "RealDiv": Step.DIVIDE,
    "Maximum": Step.MAXIMUM,
    "Minimum": Step.MINIMUM,
}
_UNARY = {
    "Neg": (Step.NEGATE,),
    "Abs": (Step.ABSOLUTE,),
    "Sqrt": (Step.SQUARE_ROOT,),
    "Rsqrt": (Step.SQUARE_ROOT, Step.RECIPROCAL),
    "Reciprocal": (Step.RECIPROCAL,),
}
SAME = frozenset({"Identity", "StopGradient", "Snapshot", "ReadVariableOp", "EnsureShape", "PreventGradient"})
"""Operations that return their first input unchanged."""
_WIDENED = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


class Operands(Protocol):
    """The operands of an operation. All methods raise Unfoldable if a value is not known."""

    def __len__(self) -> int:
        """The number of operands."""
        ...

    def tensor(self, place: int) -> Tensor:
        """An array."""
        ...

    def integers(self, place: int) -> list[int]:
        """A short list of integers: axes, a permutation, a shape."""
        ...


Fold = Callable[[Node, Operands], Tensor]


def fold(node: Node, operands: Operands) -> Tensor:
    """The result of the operation on constants; Unfoldable for other operations or invalid operands."""
    if node.operation not in FOLDS:
        raise Unfoldable("it is in no list of what is computed")
    return FOLDS[node.operation](node, operands)


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The reshaped tensor; a stored array remains a stored one."""
    sides = list(shape)
    rest = prod(side for side in sides if side != -1)
    if sides.count(-1) == 1 and rest > 0:
        sides[sides.index(-1)] = prod(tensor.shape) // rest
    if tensor.computation is None and tensor.strides is None:
        if prod(sides) != prod(tensor.shape) or min(sides, default=0) < 0:
            raise Unfoldable(f"shape {tensor.shape} becomes no {tuple(shape)}")
        return replace(tensor, shape=tuple(sides))
    return folding.reshaped(tensor, sides)


def _same(_: Node, operands: Operands) -> Tensor:
    return operands.tensor(0)


def _cast(node: Node, operands: Operands) -> Tensor:
    target = node.attributes.get("DstT")
    dtype = DTYPES_BY_NUMBER.get(target if isinstance(target, int) else 0, "")
    if dtype == operands.tensor(0).dtype or (dtype == "F32" and operands.tensor(0).dtype in _WIDENED):
        return operands.tensor(0)
    raise Unfoldable(f"a conversion from {operands.tensor(0).dtype} to {show(dtype or 'an unknown type')}")


def _binary(node: Node, operands: Operands) -> Tensor:
    first, second = operands.tensor(0), operands.tensor(1)
    _require_float32(first, second)
    return folding.elementwise(_BINARY[node.operation], first, second)


def _unary(node: Node, operands: Operands) -> Tensor:
    tensor = operands.tensor(0)
    _require_float32(tensor)
    for step in _UNARY[node.operation]:
        tensor = folding.elementwise(step, tensor)
    return tensor


def _require_float32(*tensors: Tensor) -> None:
    for tensor in tensors:
        if tensor.dtype != "F32":
            raise Unfoldable(f"arithmetic in {tensor.dtype}")


def _reshape(_: Node, operands: Operands) -> Tensor:
    return reshaped(operands.tensor(0), operands.integers(1))


def _expand(_: Node, operands: Operands) -> Tensor:
    tensor, axes = operands.tensor(0), operands.integers(1)
    shape = tensor.shape
    if len(axes) != 1:
        raise Unfoldable("an axis is added at no place")
    at = folding.axis_from_front(axes[0], len(shape) + 1)
    return reshaped(tensor, (*shape[:at], 1, *shape[at:]))


def _squeeze(node: Node, operands: Operands) -> Tensor:
    shape = operands.tensor(0).shape
    axes = node.integers("squeeze_dims") or tuple(axis for axis, side in enumerate(shape) if side == 1)
    removed = {folding.axis_from_front(axis, len(shape)) for axis in axes}
    if any(shape[axis] != 1 for axis in removed):
        raise Unfoldable("an axis longer than 1 is removed")
    return reshaped(operands.tensor(0), [side for axis, side in enumerate(shape) if axis not in removed])


def _strided(node: Node, operands: Operands) -> Tensor:
    """StridedSlice; its masks state omitted bounds, and axes to insert or drop."""
    tensor = operands.tensor(0)
    bounds = list(zip(*(operands.integers(place) for place in (1, 2, 3)), strict=True))
    masks = {key: node.integer(f"{key}_mask") for key in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    axes = sum(not masks["new_axis"] >> place & 1 for place in range(len(bounds)))
    if masks["ellipsis"] or axes > len(tensor.shape) or any(step < 1 for _, _, step in bounds):
        raise Unfoldable("a part of an array with an ellipsis, or backwards")
    parts: list[tuple[int, int, int, int]] = []
    kept: list[int | None] = []
    for place, (begin, end, step) in enumerate(bounds):
        if masks["new_axis"] >> place & 1:
            kept.append(None)
            continue
        axis = len(parts)
        if masks["shrink_axis"] >> place & 1:
            at = folding.axis_from_front(begin, tensor.shape[axis])
            parts.append((axis, at, at + 1, 1))
            continue
        first = 0 if masks["begin"] >> place & 1 else begin
        parts.append((axis, first, tensor.shape[axis] if masks["end"] >> place & 1 else end, step))
        kept.append(axis)
    part = folding.sliced(tensor, parts)
    rest = [*kept, *range(len(parts), len(tensor.shape))]
    return reshaped(part, [1 if axis is None else part.shape[axis] for axis in rest])


def _transpose(_: Node, operands: Operands) -> Tensor:
    return folding.transposed(operands.tensor(0), operands.integers(1))


def _concatenated(_: Node, operands: Operands) -> Tensor:
    axes = operands.integers(len(operands) - 1)
    if len(axes) != 1 or len(operands) < 2:
        raise Unfoldable("arrays that are joined along no axis")
    return folding.concatenated([operands.tensor(place) for place in range(len(operands) - 1)], axes[0])


FOLDS: dict[str, Fold] = {
    **dict.fromkeys(SAME, _same),
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_UNARY, _unary),
    "Cast": _cast,
    "Reshape": _reshape,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
    "StridedSlice": _strided,
    "Transpose": _transpose,
    "ConcatV2": _concatenated,
}
"""Operation -> folding of operations whose inputs are all constant.

FakeQuant is not folded: these steps cannot reproduce its rounding exactly.
"""
