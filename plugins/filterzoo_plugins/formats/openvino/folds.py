"""Constant folding: a closed set of operations, as steps that compute the weight.

Results are as the operations define, in the types of the graph: a decompression in float16 is rounded to float16 after
each step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from filterzoo import DTYPES, NumberClass, Quantisation, Step, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.openvino.constant import DTYPES_OF_ELEMENTS, Value, WeightsFile
from filterzoo_plugins.formats.openvino.document import LayerEntry

_BINARY = {
    "Add": Step.ADD,
    "Subtract": Step.SUBTRACT,
    "Multiply": Step.MULTIPLY,
    "Divide": Step.DIVIDE,
    "Maximum": Step.MAXIMUM,
    "Minimum": Step.MINIMUM,
}
_ARITHMETIC = frozenset({"f32", "f16", "bf16"})
_WIDENED = {"f32": frozenset({"f64", "f32", "f16", "bf16", "f8e4m3", "f8e5m2"}), "f16": frozenset({"f16"})}
"""Type -> types whose conversion to it does not change the published float32."""
_EXACT = {"f32": 24, "f16": 11, "bf16": 8}
"""Integers of up to this many bits are exact in these types."""

RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Transpose"})
"""Operations whose second input is a short list."""


def fold(layer: LayerEntry, inputs: Sequence[Value], weights: WeightsFile) -> Tensor:
    """The result of the operation on constants; Unfoldable for other operations or invalid operands."""
    if not inputs or layer.type not in FOLDS or not layer.opset.startswith("opset"):
        raise Unfoldable("it is in no list of what is computed")
    return FOLDS[layer.type](layer, inputs, weights)


def element_of(layer: LayerEntry, inputs: Sequence[Value]) -> str:
    """The type of the result."""
    if layer.type == "Convert":
        return layer.data.get("destination_type", "")
    return inputs[0].element if inputs else ""


def reshaped(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """The reshaped tensor; an array stored in C order remains a stored one."""
    is_plain = tensor.computation is None and tensor.strides is None
    if is_plain and (tensor.quantisation is None or tensor.quantisation.axis is None):
        if prod(tensor.shape) != prod(shape) or min(shape, default=0) < 0:
            raise Unfoldable(f"shape {tensor.shape} becomes no {tuple(shape)}")
        return replace(tensor, shape=tuple(shape))
    return folding.reshaped(tensor, shape)


def _convert(layer: LayerEntry, inputs: Sequence[Value], _: WeightsFile) -> Tensor:
    tensor, origin, target = inputs[0].numbers(), inputs[0].element, element_of(layer, inputs)
    if origin == target or origin in _WIDENED.get(target, ()):
        return tensor
    known = DTYPES.get(DTYPES_OF_ELEMENTS.get(target, ""))
    if target not in _ARITHMETIC:
        is_list = tensor.dtype in {"I32", "I64"} and tensor.computation is None and tensor.quantisation is None
        if is_list and known is not None and known.number_class is NumberClass.INTEGER and known.size >= 4:
            return tensor
        raise Unfoldable(f"a conversion from {show(origin)} to {show(target)}")
    if DTYPES[tensor.dtype].number_class is NumberClass.INTEGER and tensor.quantisation is None:
        return _float_of_integer(tensor, target)
    return folding.rounded(tensor, DTYPES_OF_ELEMENTS[target])


def _float_of_integer(tensor: Tensor, target: str) -> Tensor:
    bits = DTYPES[tensor.dtype].size * 8 - (1 if tensor.dtype.startswith("I") else 0)
    whole = replace(tensor, quantisation=Quantisation((1.0,), (0,)))
    return whole if bits <= _EXACT[target] else folding.rounded(whole, DTYPES_OF_ELEMENTS[target])


def _binary(layer: LayerEntry, inputs: Sequence[Value], _: WeightsFile) -> Tensor:
    if len(inputs) != 2 or inputs[0].element != inputs[1].element or inputs[0].element not in _ARITHMETIC:
        raise Unfoldable(f"arithmetic with numbers of type {show(inputs[0].element)}")
    first, second = (value.numbers() for value in inputs)
    mode = layer.data.get("auto_broadcast", "numpy")
    if mode != "numpy" and not (mode == "none" and first.shape == second.shape):
        raise Unfoldable(f"a broadcast of the kind {show(mode)}")
    return _rounded(folding.elementwise(_BINARY[layer.type], first, second), inputs[0].element)


def _rounded(tensor: Tensor, element: str) -> Tensor:
    return folding.rounded(tensor, DTYPES_OF_ELEMENTS[element])


def _transpose(_: LayerEntry, inputs: Sequence[Value], weights: WeightsFile) -> Tensor:
    tensor = inputs[0].numbers()
    order = weights.integers(inputs[1]) if len(inputs) > 1 else []
    return folding.transposed(tensor, order or range(len(tensor.shape))[::-1])


def _reshape(layer: LayerEntry, inputs: Sequence[Value], weights: WeightsFile) -> Tensor:
    tensor, sides = inputs[0].numbers(), weights.integers(_second(inputs))
    if layer.data.get("special_zero", "false").lower() in {"true", "1"}:
        if any(side == 0 and axis >= len(tensor.shape) for axis, side in enumerate(sides)):
            raise Unfoldable("a side is kept that is not there")
        sides = [tensor.shape[axis] if side == 0 else side for axis, side in enumerate(sides)]
    rest = prod(side for side in sides if side != -1)
    if sides.count(-1) == 1 and rest > 0:
        sides[sides.index(-1)] = prod(tensor.shape) // rest
    return reshaped(tensor, sides)


def _squeeze(_: LayerEntry, inputs: Sequence[Value], weights: WeightsFile) -> Tensor:
    tensor = inputs[0].numbers()
    rank = len(tensor.shape)
    axes = weights.integers(inputs[1]) if len(inputs) > 1 else [i for i, side in enumerate(tensor.shape) if side == 1]
    removed = {folding.axis_from_front(axis, rank) for axis in axes}
    if any(tensor.shape[axis] != 1 for axis in removed):
        raise Unfoldable("an axis longer than 1 is removed")
    return reshaped(tensor, [side for axis, side in enumerate(tensor.shape) if axis not in removed])


def _unsqueeze(_: LayerEntry, inputs: Sequence[Value], weights: WeightsFile) -> Tensor:
    tensor, axes = inputs[0].numbers(), weights.integers(_second(inputs))
    rank = len(tensor.shape) + len(axes)
    new = {folding.axis_from_front(axis, rank) for axis in axes}
    if len(new) != len(axes):
        raise Unfoldable("an axis is added twice")
    old = iter(tensor.shape)
    return reshaped(tensor, [1 if axis in new else next(old) for axis in range(rank)])


def _concatenated(layer: LayerEntry, inputs: Sequence[Value], _: WeightsFile) -> Tensor:
    axes = layer.integers("axis")
    if len(axes) != 1 or len({value.element for value in inputs}) != 1:
        raise Unfoldable("arrays that are joined along no axis, or of several types")
    return folding.concatenated([value.numbers() for value in inputs], axes[0])


def _second(inputs: Sequence[Value]) -> Value:
    if len(inputs) < 2:
        raise Unfoldable("an input is missing")
    return inputs[1]


FOLDS: dict[str, Callable[[LayerEntry, Sequence[Value], WeightsFile], Tensor]] = {
    **dict.fromkeys(_BINARY, _binary),
    "Convert": _convert,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concatenated,
}
"""Type -> folding of operations whose inputs are all constant.

FakeQuantize is not folded: these steps cannot reproduce its rounding and clipping exactly.
"""
