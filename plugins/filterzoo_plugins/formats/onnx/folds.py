"""Constant folding of nodes: views if strides and scales suffice, otherwise steps of a closed set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from filterzoo import Refused, Step, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.folding import HALF, Unfoldable
from filterzoo_plugins.formats.onnx.array import DTYPES_OF_ONNX, MAX_RANK, Array
from filterzoo_plugins.formats.onnx.constant import Constant, Value, read_numbers
from filterzoo_plugins.formats.onnx.operators import VIEWS
from filterzoo_plugins.formats.onnx.views import dequantised, view

if TYPE_CHECKING:
    from filterzoo_plugins.encodings.protobuf import WireReader
    from filterzoo_plugins.formats.onnx.model import Attribute, Node

_BINARY = {
    "Add": Step.ADD,
    "Sub": Step.SUBTRACT,
    "Mul": Step.MULTIPLY,
    "Div": Step.DIVIDE,
    "Pow": Step.POWER,
    "Min": Step.MINIMUM,
    "Max": Step.MAXIMUM,
}
_UNARY = {"Neg": Step.NEGATE, "Abs": Step.ABSOLUTE, "Sqrt": Step.SQUARE_ROOT, "Reciprocal": Step.RECIPROCAL}
_REDUCTIONS = {
    "ReduceL2": Step.NORM,
    "ReduceSum": Step.SUM,
    "ReduceMean": Step.MEAN,
    "ReduceMax": Step.LARGEST,
    "ReduceL1": Step.SUM,
    "ReduceSumSquare": Step.SUM,
}
_RANGES = {"I8": (-128, 127), "U8": (0, 255), "I16": (-32768, 32767), "U16": (0, 65535)}
_INTEGERS = {"I32", "I64"}
_MAX_SMALL = 64


@dataclass(slots=True)
class _Call:
    """A node whose inputs are all constants."""

    node: Node
    attributes: Mapping[str, Attribute]
    inputs: Sequence[Constant | None]
    reader: WireReader

    def integer(self, name: str, default: int = 0) -> int:
        return self.attributes[name].integer if name in self.attributes else default

    def integers(self, name: str, place: int | None = None) -> list[int] | None:
        """Axes or shape: an attribute in old opsets, an input in new ones; None if absent."""
        if name in self.attributes and not self.attributes[name].too_long:
            return self.attributes[name].integers
        stated = self.input(place) if place is not None else None
        return None if stated is None else self.numbers(stated)

    def input(self, place: int) -> Constant | None:
        return self.inputs[place] if place < len(self.inputs) else None

    def numbers(self, constant: Constant) -> list[int]:
        """The integers of a small constant."""
        if prod(constant.shape) > folding.MAX_INDICES:
            raise Unfoldable("a shape or axes of too many numbers")
        try:
            return [int(number) for number in read_numbers(constant, self.reader, self.node.where)]
        except (Refused, ValueError, OverflowError) as error:
            raise Unfoldable("a shape or axes that cannot be read") from error

    def operand(self, place: int) -> Tensor:
        constant = self.input(place)
        if constant is None:
            raise Unfoldable(f"a {self.node.operator} without its input {place}")
        return constant.operand(self.reader, self.node.where)

    def has_zero_point(self) -> bool:
        """Whether the third input exists and is not all zero, so that it must be subtracted."""
        point = self.input(2)
        if point is None:
            return False
        try:
            return any(self.numbers(point))
        except Unfoldable:
            return True  # its values take part in the computation

    def arithmetic(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The operands of arithmetic, in one float type."""
        types = {constant.dtype for constant in self.inputs if constant is not None}
        if len(types) != 1 or not types <= {"F32", *HALF}:
            raise Unfoldable(f"a {self.node.operator} of numbers of type {', '.join(sorted(types))}")
        return tensors


def fold(
    node: Node, attributes: Mapping[str, Attribute], inputs: Sequence[Value | None], reader: WireReader
) -> list[Constant | None]:
    """The outputs of a node on constants; None for an output that is not an array."""
    if not inputs or any(value is not None and value.constant is None for value in inputs) or inputs[0] is None:
        return [None] * len(node.outputs)
    constants = [value.constant if value else None for value in inputs]
    first = max((c for c in constants if c is not None), key=lambda c: (c.array.obstacle is None, prod(c.shape)))
    main = inputs[0].constant
    if (node.domain, node.operator) in VIEWS and main is not None and main.folded is None:
        simple = view(node, attributes, main, inputs[1:], reader)
        if simple.obstacle is None or main.obstacle or main.array.obstacle:
            return [simple]
    call = _Call(node, attributes, constants, reader)
    try:
        literal = _small(call)
        if literal is not None:
            return [literal]
        return [first.computed(tensor, dtype) for tensor, dtype in _results(call)]
    except Unfoldable as error:
        return [first.blocked(f"it passes a {ascii(node.operator)[:40]} that cannot be followed: {error}")] * len(
            node.outputs
        )


def with_scale(
    constant: Constant, inputs: Sequence[Value | None], places: tuple[int, int | None], reader: WireReader, where: str
) -> Constant:
    """A quantised convolution's weight, with the scale and zero point at these input positions."""
    if constant.folded is None:
        return dequantised(constant, inputs, *places, axis=0)
    factors = [inputs[place] if place is not None and place < len(inputs) else None for place in places]
    factor, point = (value.constant if value else None for value in factors)
    if factor is None or any(value is not None and value.constant is None for value in factors):
        return constant.blocked("its scale or zero point is computed, not stored")
    try:
        zero = None if point is None else folding.along(point.operand(reader, where), constant.folded, 0)
        spread = folding.along(factor.operand(reader, where), constant.folded, 0)
        return constant.computed(folding.dequantised(constant.folded, spread, zero), "F32")
    except Unfoldable as error:
        return constant.blocked(str(error))


def _results(call: _Call) -> list[tuple[Tensor, str]]:
    """The outputs with the type of their values."""
    operator, main = call.node.operator, call.input(0)
    if main is None:
        raise Unfoldable("nothing to operate on")
    if operator in _BINARY and len(call.inputs) == 2:
        result = folding.elementwise(_BINARY[operator], *call.arithmetic(call.operand(0), call.operand(1)))
        return [(folding.rounded(result, main.dtype), main.dtype)]
    if operator in _UNARY:
        result = folding.elementwise(_UNARY[operator], *call.arithmetic(call.operand(0)))
        return [(folding.rounded(result, main.dtype), main.dtype)]
    if operator in _REDUCTIONS:
        return [(folding.rounded(_reduced(call), main.dtype), main.dtype)]
    if operator == "Split":
        return [(part, main.dtype) for part in _split(call)]
    if operator in _OTHERS:
        return [_OTHERS[operator](call, main)]
    raise Unfoldable("it is in no list of what is computed")


def _reduced(call: _Call) -> Tensor:
    (tensor,) = call.arithmetic(call.operand(0)) if len(call.inputs) == 1 else (call.operand(0),)
    main, operator = call.input(0), call.node.operator
    if main is None or main.dtype not in {"F32", *HALF}:
        raise Unfoldable("numbers that are no floats")
    axes = call.integers("axes", 1)
    if not axes and call.integer("noop_with_empty_axes"):
        return tensor
    if operator == "ReduceL1":
        tensor = folding.elementwise(Step.ABSOLUTE, tensor)
    elif operator == "ReduceSumSquare":
        tensor = folding.elementwise(Step.MULTIPLY, tensor, tensor)
    return folding.reduced(_REDUCTIONS[operator], tensor, axes, keep=bool(call.integer("keepdims", 1)))


def _split(call: _Call) -> list[Tensor]:
    tensor, axis = call.operand(0), call.integer("axis")
    at = folding.axis_from_front(axis, len(tensor.shape))
    sizes = call.integers("split", 1)
    count = len(call.node.outputs)
    if sizes is None:
        size = -(-tensor.shape[at] // max(count, 1))
        sizes = [min(size, tensor.shape[at] - size * place) for place in range(count)]
    if len(sizes) != count or sum(sizes) != tensor.shape[at] or min(sizes, default=0) < 1:
        raise Unfoldable(f"parts {sizes[:8]} of an axis of length {tensor.shape[at]}")
    begins = [sum(sizes[:place]) for place in range(count)]
    return [folding.sliced(tensor, [(at, b, b + size, 1)]) for b, size in zip(begins, sizes, strict=True)]


def _cast(call: _Call, main: Constant) -> tuple[Tensor, str]:
    dtype = DTYPES_OF_ONNX.get(call.integer("to"), "")
    tensor = call.operand(0)
    is_float = main.dtype in {"F32", *HALF}
    if is_float and dtype in {"F32", "F64", *HALF}:
        # float64 is treated as float32, in which all results are computed.
        return (tensor if dtype in {"F64", main.dtype} else folding.rounded(tensor, dtype)), dtype
    if main.dtype in {"I8", "U8", "I16", "U16", "I32", "BOOL"} and dtype in {"F32", *HALF}:
        return folding.rounded(folding.floating(tensor), dtype), dtype
    if main.dtype == "F64" and dtype == "F32":
        return tensor, dtype
    if dtype == main.dtype:
        return tensor, dtype
    raise Unfoldable(f"a cast from {main.dtype} to {dtype or 'an unknown type'}")


def _quantised(call: _Call, main: Constant) -> tuple[Tensor, str]:
    point = call.input(2)
    dtype = point.dtype if point else DTYPES_OF_ONNX.get(call.integer("output_dtype"), "U8")
    if dtype not in _RANGES or main.dtype not in {"F32", *HALF}:
        raise Unfoldable(f"a quantisation of {main.dtype} to {dtype}")
    tensor, axis, block = call.operand(0), call.integer("axis", 1), call.integer("block_size")
    places = (1, 2) if call.has_zero_point() else (1,)
    parts = [folding.along(call.operand(place), tensor, axis, block) for place in places]
    return folding.quantised(tensor, parts, _RANGES[dtype]), dtype


def _dequantised(call: _Call, main: Constant) -> tuple[Tensor, str]:
    if main.dtype not in {*_RANGES, "I32"} and not main.dtype.startswith("F8_"):
        raise Unfoldable(f"numbers of type {main.dtype} with a scale")
    tensor, axis, block = call.operand(0), call.integer("axis", 1), call.integer("block_size")
    zero = folding.along(call.operand(2), tensor, axis, block) if call.has_zero_point() else None
    return folding.dequantised(tensor, folding.along(call.operand(1), tensor, axis, block), zero), "F32"


def _transposed(call: _Call, main: Constant) -> tuple[Tensor, str]:
    order = call.integers("perm") or list(reversed(range(len(main.shape))))
    return folding.transposed(call.operand(0), order), main.dtype


def _reshaped(call: _Call, main: Constant) -> tuple[Tensor, str]:
    shape = call.integers("shape", 1)
    if shape is None or len(shape) > MAX_RANK:
        raise Unfoldable("a shape that is not stated")
    if not call.integer("allowzero"):
        shape = [main.shape[at] if side == 0 and at < len(main.shape) else side for at, side in enumerate(shape)]
    return folding.reshaped(call.operand(0), shape), main.dtype


def _flattened(call: _Call, main: Constant) -> tuple[Tensor, str]:
    axis = call.integer("axis", 1)
    at = axis + len(main.shape) if axis < 0 else axis
    return folding.reshaped(call.operand(0), (prod(main.shape[:at]), prod(main.shape[at:]))), main.dtype


def _squeezed(call: _Call, main: Constant) -> tuple[Tensor, str]:
    axes, rank = call.integers("axes", 1), len(main.shape)
    dropped = (
        {folding.axis_from_front(axis, rank) for axis in axes}
        if axes
        else {at for at in range(rank) if main.shape[at] == 1}
    )
    return folding.reshaped(
        call.operand(0), [side for at, side in enumerate(main.shape) if at not in dropped]
    ), main.dtype


def _unsqueezed(call: _Call, main: Constant) -> tuple[Tensor, str]:
    axes = call.integers("axes", 1) or []
    rank = len(main.shape) + len(axes)
    if rank > MAX_RANK:
        raise Unfoldable("too many axes")
    new, old = {folding.axis_from_front(axis, rank) for axis in axes}, iter(main.shape)
    return folding.reshaped(call.operand(0), [1 if at in new else next(old) for at in range(rank)]), main.dtype


def _concatenated(call: _Call, main: Constant) -> tuple[Tensor, str]:
    if len({constant.dtype for constant in call.inputs if constant}) != 1:
        raise Unfoldable("arrays of several types")
    parts = [call.operand(place) for place in range(len(call.inputs))]
    return folding.concatenated(parts, call.integer("axis")), main.dtype


def _sliced(call: _Call, main: Constant) -> tuple[Tensor, str]:
    starts, ends = call.integers("starts", 1), call.integers("ends", 2)
    if starts is None or ends is None or len(starts) != len(ends):
        raise Unfoldable("a part that is not stated")
    axes = call.integers("axes", 3) or list(range(len(starts)))
    steps = call.integers("steps", 4) or [1] * len(starts)
    return folding.sliced(call.operand(0), list(zip(axes, starts, ends, steps, strict=True))), main.dtype


def _gathered(call: _Call, main: Constant) -> tuple[Tensor, str]:
    indices, axis = call.input(1), call.integer("axis")
    if indices is None or len(indices.shape) > 1:
        raise Unfoldable("indices that are no list")
    gathered = folding.taken(call.operand(0), axis, call.numbers(indices))
    if not indices.shape:
        at = folding.axis_from_front(axis, len(main.shape))
        gathered = folding.reshaped(gathered, (*main.shape[:at], *main.shape[at + 1 :]))
    return gathered, main.dtype


def _expanded(call: _Call, main: Constant) -> tuple[Tensor, str]:
    shape = call.integers("shape", 1)
    if shape is None or len(shape) > MAX_RANK or min(shape, default=1) < 1:
        raise Unfoldable("a shape that is not stated")
    return folding.spread(call.operand(0), shape), main.dtype


def _product(call: _Call, main: Constant) -> tuple[Tensor, str]:
    result = folding.product(*call.arithmetic(call.operand(0), call.operand(1)))
    return folding.rounded(result, main.dtype), main.dtype


def _clipped(call: _Call, main: Constant) -> tuple[Tensor, str]:
    if "min" in call.attributes or "max" in call.attributes:
        raise Unfoldable("bounds in attributes")
    (tensor,) = call.arithmetic(call.operand(0))
    if call.input(1):
        tensor = folding.elementwise(Step.MAXIMUM, tensor, call.operand(1))
    if call.input(2):
        tensor = folding.elementwise(Step.MINIMUM, tensor, call.operand(2))
    return tensor, main.dtype


def _normalised(call: _Call, main: Constant) -> tuple[Tensor, str]:
    (tensor,) = call.arithmetic(call.operand(0))
    if call.integer("p", 2) != 2:
        raise Unfoldable("a norm that is not Euclidean")
    norm = folding.reduced(Step.NORM, tensor, [call.integer("axis", -1)], keep=True)
    return folding.rounded(folding.elementwise(Step.DIVIDE, tensor, norm), main.dtype), main.dtype


_OTHERS: dict[str, Callable[[_Call, Constant], tuple[Tensor, str]]] = {
    "Identity": lambda call, main: (call.operand(0), main.dtype),
    "Cast": _cast,
    "QuantizeLinear": _quantised,
    "DequantizeLinear": _dequantised,
    "Transpose": _transposed,
    "Reshape": _reshaped,
    "Flatten": _flattened,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Concat": _concatenated,
    "Slice": _sliced,
    "Gather": _gathered,
    "Expand": _expanded,
    "MatMul": _product,
    "Clip": _clipped,
    "LpNormalization": _normalised,
}


def _small(call: _Call) -> Constant | None:
    """A few integers, computed immediately: shapes, axes and indices; None if the result is not known."""
    operator, main = call.node.operator, call.input(0)
    if main is None:
        return None
    if operator == "Shape":
        begin, end = call.integer("start"), call.integer("end", len(main.shape))
        return _literal(call, main.shape[begin:end], 1)
    is_small = all(c is None or (c.dtype in _INTEGERS and prod(c.shape) <= _MAX_SMALL) for c in call.inputs)
    if not is_small or any(c is not None and len(c.shape) > 1 for c in call.inputs):
        return None
    values = [call.numbers(constant) for constant in call.inputs if constant is not None]
    match operator:
        case "Concat":
            return _literal(call, [number for part in values for number in part], 1)
        case "Gather" if len(values) == 2 and all(-len(values[0]) <= index < len(values[0]) for index in values[1]):
            indices = call.input(1)
            return _literal(call, [values[0][index] for index in values[1]], len(indices.shape) if indices else 1)
        case "Slice" if len(values) >= 3 and all(len(part) == 1 for part in values[1:]):
            step = values[4][0] if len(values) > 4 else 1
            return _literal(call, values[0][values[1][0] : values[2][0] : step or 1], 1)
        case "Add" | "Sub" | "Mul" if len(values) == 2 and 1 in {len(values[0]), len(values[1])}:
            left, right = (part * (max(map(len, values)) if len(part) == 1 else 1) for part in values)
            function: Callable[[int, int], int] = {"Add": int.__add__, "Sub": int.__sub__, "Mul": int.__mul__}[operator]
            return _literal(
                call,
                [function(a, b) for a, b in zip(left, right, strict=True)],
                max(len(c.shape) for c in call.inputs if c),
            )
    return None


def _literal(call: _Call, numbers: Sequence[int], rank: int) -> Constant:
    if any(abs(number) >= 1 << 62 for number in numbers) or (rank == 0 and len(numbers) != 1):
        raise Unfoldable("integers out of bounds")
    name = call.node.outputs[0] if call.node.outputs else ""
    shape = (len(numbers),) if rank else ()
    return Constant.of(
        Array(
            name=name,
            offset=call.node.offset,
            dtype="I64",
            shape=shape,
            literal=tuple(numbers),
            obstacle="it is a shape",
        )
    )
