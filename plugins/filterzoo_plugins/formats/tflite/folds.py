"""Constant folding: a closed set of operators, as steps that compute the weight."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from filterzoo import Step, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.formats.tflite.model import OperatorEntry, TensorEntry

DEQUANTIZE, DENSIFY = 6, 124
_BINARY = {
    0: Step.ADD,
    41: Step.SUBTRACT,
    18: Step.MULTIPLY,
    42: Step.DIVIDE,
    55: Step.MAXIMUM,
    57: Step.MINIMUM,
    78: Step.POWER,
}
_ACTIVATION_SLOT = {0: 0, 41: 0, 18: 0, 42: 0, 2: 1}
"""The option slot of the fused activation of ADD, SUB, MUL, DIV and CONCATENATION."""
_UNARY = {
    59: (Step.NEGATE,),
    75: (Step.SQUARE_ROOT,),
    76: (Step.SQUARE_ROOT, Step.RECIPROCAL),
    101: (Step.ABSOLUTE,),
}
_REDUCTIONS = {74: Step.SUM, 40: Step.MEAN, 82: Step.LARGEST}
_CAST, _CONCATENATION, _TRANSPOSE, _SQUARE, _BROADCAST_TO, _GATHER = 53, 2, 39, 92, 130, 36
_RESHAPES = frozenset({22, 70, 43})
"""RESHAPE, EXPAND_DIMS, SQUEEZE: their shape is that of the output."""
FOLDS = frozenset(
    {DEQUANTIZE, DENSIFY, _CAST, _CONCATENATION, _TRANSPOSE, _SQUARE, _BROADCAST_TO, _GATHER}
    | {*_BINARY, *_UNARY, *_REDUCTIONS, *_RESHAPES}
)
"""BuiltinOperators that are folded if all their inputs are constant."""

_MAX_NUMBERS = 4096


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that does not depend on an input. entry: its stored tensor, or the one it is named after."""

    entry: TensorEntry
    folded: Tensor | None = None
    obstacle: str | None = None

    def tensor(self) -> Tensor:
        """The value as a tensor; Unfoldable if it is not known, Refused if its scales are invalid."""
        if self.obstacle:
            raise Unfoldable(self.obstacle)
        return self.entry.tensor() if self.folded is None else self.folded

    def integers(self) -> list[int]:
        """A few stored integers: axes, a permutation, a shape."""
        entry = self.entry
        code = {"I32": "i", "I64": "q"}.get(entry.dtype)
        if self.folded is not None or self.obstacle or code is None or entry.span is None:
            raise Unfoldable("a shape or axes that are no stored integers")
        size = struct.calcsize(f"<{code}")
        if entry.span.length > _MAX_NUMBERS * size or entry.span.length % size:
            raise Unfoldable("a shape or axes of too many numbers")
        content = entry.table.buffer.file.read(entry.span.offset, entry.span.length)
        return list(struct.unpack(f"<{entry.span.length // size}{code}", content))


def fold(operator: OperatorEntry, inputs: Sequence[Constant | None], output: TensorEntry) -> Constant | None:
    """The result of the operator on constants; None if an operand is not a constant."""
    known = [constant for constant in inputs if constant is not None]
    if not known or inputs[0] is None or len(known) != len(inputs):
        return None
    main = max(known, key=lambda constant: constant.entry.count)
    if operator.code in {DEQUANTIZE, DENSIFY}:
        return known[0]
    try:
        return Constant(main.entry, _result(operator, known, output))
    except Unfoldable as error:
        return Constant(main.entry, obstacle=f"it passes operator {operator.code}, which cannot be followed: {error}")


def _result(operator: OperatorEntry, inputs: Sequence[Constant], output: TensorEntry) -> Tensor:
    code = operator.code
    _check_activation(operator)
    if code in _BINARY and len(inputs) == 2:
        return folding.elementwise(_BINARY[code], *map(_float, inputs))
    if code in _UNARY:
        result = _float(inputs[0])
        for step in _UNARY[code]:
            result = folding.elementwise(step, result)
        return result
    if code in _REDUCTIONS and len(inputs) == 2:
        keep = bool(operator.options and operator.options.integer(0, "B"))
        return folding.reduced(_REDUCTIONS[code], _float(inputs[0]), inputs[1].integers(), keep=keep)
    if code in _RESHAPES:
        return folding.reshaped(inputs[0].tensor(), output.shape)
    if code in _OTHERS:
        return _OTHERS[code](operator, inputs, output)
    raise Unfoldable("it is in no list of what is computed")


def _check_activation(operator: OperatorEntry) -> None:
    slot = _ACTIVATION_SLOT.get(operator.code)
    if slot is not None and operator.options is not None and operator.options.integer(slot, "b"):
        raise Unfoldable("a function is applied to its result")


def _float(constant: Constant) -> Tensor:
    """An operand of arithmetic; Unfoldable if it is quantised, because quantised arithmetic rounds differently."""
    tensor = constant.tensor()
    if constant.folded is None and tensor.dtype not in {"F32", "F16"} and tensor.quantisation is None:
        raise Unfoldable(f"arithmetic with numbers of type {tensor.dtype}")
    return tensor


def _cast(_: OperatorEntry, inputs: Sequence[Constant], output: TensorEntry) -> Tensor:
    if output.dtype != "F32":
        raise Unfoldable(f"a cast to {output.dtype or 'an unknown type'}")
    return folding.floating(inputs[0].tensor())


def _concatenated(operator: OperatorEntry, inputs: Sequence[Constant], _: TensorEntry) -> Tensor:
    axis = operator.options.integer(0, "i") if operator.options else 0
    return folding.concatenated([constant.tensor() for constant in inputs], axis)


def _transposed(_: OperatorEntry, inputs: Sequence[Constant], __: TensorEntry) -> Tensor:
    return folding.transposed(inputs[0].tensor(), inputs[1].integers())


def _squared(_: OperatorEntry, inputs: Sequence[Constant], __: TensorEntry) -> Tensor:
    tensor = _float(inputs[0])
    return folding.elementwise(Step.MULTIPLY, tensor, tensor)


def _spread(_: OperatorEntry, inputs: Sequence[Constant], output: TensorEntry) -> Tensor:
    return folding.spread(inputs[0].tensor(), output.shape)


def _gathered(operator: OperatorEntry, inputs: Sequence[Constant], _: TensorEntry) -> Tensor:
    axis = operator.options.integer(0, "i") if operator.options else 0
    if operator.options and operator.options.integer(1, "i"):
        raise Unfoldable("a Gather by batches")
    if len(inputs[1].entry.shape) != 1:
        raise Unfoldable("indices that are no list")
    return folding.taken(inputs[0].tensor(), axis, inputs[1].integers())


_OTHERS: dict[int, Callable[[OperatorEntry, Sequence[Constant], TensorEntry], Tensor]] = {
    _CAST: _cast,
    _CONCATENATION: _concatenated,
    _TRANSPOSE: _transposed,
    _SQUARE: _squared,
    _BROADCAST_TO: _spread,
    _GATHER: _gathered,
}
