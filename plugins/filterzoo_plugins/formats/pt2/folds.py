"""Constant folding of ATen: a closed set of operations, as steps that compute the weight."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from filterzoo import Step, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.formats.pt2.arguments import Arguments

_FLOATS = ("F32", "F16", "BF16")
_BINARY = {
    "add": Step.ADD,
    "sub": Step.SUBTRACT,
    "mul": Step.MULTIPLY,
    "div": Step.DIVIDE,
    "pow": Step.POWER,
    "minimum": Step.MINIMUM,
    "maximum": Step.MAXIMUM,
}
_UNARY = {
    "neg": (Step.NEGATE,),
    "abs": (Step.ABSOLUTE,),
    "sqrt": (Step.SQUARE_ROOT,),
    "reciprocal": (Step.RECIPROCAL,),
    "rsqrt": (Step.SQUARE_ROOT, Step.RECIPROCAL),
}
_SAME = frozenset({"alias", "clone", "contiguous", "detach", "lift_fresh_copy", "dropout", "_to_copy", "to"})
_PRODUCTS = {"mm": ("self", "mat2"), "mv": ("self", "vec"), "matmul": ("self", "other"), "dot": ("self", "tensor")}
_PRODUCTS |= {"vdot": ("self", "other")}


def fold(target: str, arguments: Arguments, dtype: str) -> Tensor:
    """The result of an operation on constants; `dtype`: of the result. Unfoldable for unknown operations."""
    parts = target.split(".")
    operator = parts[-2] if len(parts) > 2 else ""
    known = {value.tensor.dtype for value in arguments.values() if value.tensor is not None}
    if operator in {"dequantize_per_tensor", "dequantize_per_channel"}:
        return _dequantised(operator, arguments)
    if dtype not in _FLOATS or not known <= {*_FLOATS, *(("F64",) if operator in _SAME else ())}:
        raise Unfoldable(f"arithmetic in {dtype or 'an unknown type'}")
    return folding.rounded(_result(operator, arguments), dtype)


def _result(operator: str, arguments: Arguments) -> Tensor:
    tensor = arguments.tensor
    if operator in _BINARY:
        if arguments.plain.get("alpha", 1) != 1 or "rounding_mode" in arguments.plain:
            raise Unfoldable("a factor or a rounding besides")
        other = "exponent" if operator == "pow" else "other"
        return folding.elementwise(_BINARY[operator], tensor("self"), tensor(other))
    if operator in _UNARY:
        result = tensor("self")
        for step in _UNARY[operator]:
            result = folding.elementwise(step, result)
        return result
    if operator in _PRODUCTS:
        first, second = _PRODUCTS[operator]
        return folding.product(tensor(first), tensor(second))
    if operator in _SAME:
        return tensor("self")
    if operator in _OTHERS:
        return _OTHERS[operator](arguments)
    raise Unfoldable("it is in no list of what is computed")


def _dequantised(operator: str, arguments: Arguments) -> Tensor:
    """torch.ops.quantized_decomposed: (q - zero point) * scale."""
    tensor = arguments.tensor("input")
    if operator == "dequantize_per_tensor":
        scale, zero = arguments.tensor("scale"), arguments.tensor("zero_point")
    else:
        axis = arguments.integer("axis", 0)
        scale = folding.along(arguments.tensor("scales"), tensor, axis)
        zero = folding.along(arguments.tensor("zero_points"), tensor, axis)
    return folding.dequantised(tensor, scale, zero)


def _weight_norm(arguments: Arguments) -> Tensor:
    """v * (g / |v|), the norm over all axes but one (torch._weight_norm)."""
    direction, length, axis = arguments.tensor("v"), arguments.tensor("g"), arguments.integer("dim", 0)
    kept = {folding.axis_from_front(axis, len(direction.shape))} if axis != -1 else set()
    summed = [at for at in range(len(direction.shape)) if at not in kept]
    norm = folding.reduced(Step.NORM, direction, summed, keep=True)
    return folding.elementwise(Step.MULTIPLY, direction, folding.elementwise(Step.DIVIDE, length, norm))


def _reduced(step: Step) -> Callable[[Arguments], Tensor]:
    def operation(arguments: Arguments) -> Tensor:
        if step is Step.NORM and arguments.plain.get("ord", 2) != 2:
            raise Unfoldable("a norm that is not Euclidean")
        name = "self" if "self" in arguments.tensors else "x"
        axes = arguments.integers("dim", 0) if arguments.plain.get("dim") is not None else None
        return folding.reduced(step, arguments.tensor(name), axes, keep=arguments.truth("keepdim"))

    return operation


def _permuted(arguments: Arguments) -> Tensor:
    tensor = arguments.tensor("self")
    rank = len(tensor.shape)
    return folding.transposed(tensor, [folding.axis_from_front(at, rank) for at in arguments.integers("dims", 0) or ()])


def _transposed(arguments: Arguments) -> Tensor:
    tensor = arguments.tensor("self")
    order = list(range(len(tensor.shape)))
    first, second = (
        folding.axis_from_front(arguments.integer(name, at), len(order)) for at, name in enumerate(("dim0", "dim1"))
    )
    order[first], order[second] = order[second], order[first]
    return folding.transposed(tensor, order)


def _reshaped(name: str) -> Callable[[Arguments], Tensor]:
    def operation(arguments: Arguments) -> Tensor:
        shape = arguments.integers(name, 0)
        if shape is None:
            raise Unfoldable("a shape that is not stated")
        return folding.reshaped(arguments.tensor("self"), shape)

    return operation


def _flattened(arguments: Arguments) -> Tensor:
    tensor = arguments.tensor("self")
    shape = tensor.shape
    first = folding.axis_from_front(arguments.integer("start_dim", 0), len(shape))
    last = folding.axis_from_front(arguments.integer("end_dim", -1), len(shape))
    return folding.reshaped(tensor, (*shape[:first], prod(shape[first : last + 1]), *shape[last + 1 :]))


def _unsqueezed(arguments: Arguments) -> Tensor:
    tensor = arguments.tensor("self")
    at = folding.axis_from_front(arguments.integer("dim", 0), len(tensor.shape) + 1)
    return folding.reshaped(tensor, (*tensor.shape[:at], 1, *tensor.shape[at:]))


def _concatenated(arguments: Arguments) -> Tensor:
    tensors = [value.tensor for value in arguments.lists.get("tensors", ()) if value.tensor is not None]
    if not tensors or len(tensors) != len(arguments.lists["tensors"]):
        raise Unfoldable("nothing to join")
    return folding.concatenated(tensors, arguments.integer("dim", 0))


def _sliced(arguments: Arguments) -> Tensor:
    tensor = arguments.tensor("self")
    stated = arguments.plain.get("start")  # `as_none` is True, which equals 1
    start = 0 if stated is None or stated is True else arguments.integer("start", 0)
    end = arguments.plain.get("end")
    stop = end if type(end) is int else (1 << 40)
    return folding.sliced(tensor, [(arguments.integer("dim", 0), start, stop, arguments.integer("step", 1))])


def _selected(arguments: Arguments) -> Tensor:
    tensor = arguments.tensor("self")
    at = folding.axis_from_front(arguments.integer("dim", 0), len(tensor.shape))
    part = folding.taken(tensor, at, [arguments.integer("index", 0)])
    return folding.reshaped(part, (*tensor.shape[:at], *tensor.shape[at + 1 :]))


def _expanded(arguments: Arguments) -> Tensor:
    tensor, shape = arguments.tensor("self"), arguments.integers("size", 0)
    if shape is None or len(shape) < len(tensor.shape):
        raise Unfoldable("a shape that is not stated")
    old = (1,) * (len(shape) - len(tensor.shape)) + tensor.shape
    return folding.spread(tensor, [own if side == -1 else side for side, own in zip(shape, old, strict=True)])


_OTHERS: dict[str, Callable[[Arguments], Tensor]] = {
    "_weight_norm": _weight_norm,
    "linalg_vector_norm": _reduced(Step.NORM),
    "sum": _reduced(Step.SUM),
    "mean": _reduced(Step.MEAN),
    "amax": _reduced(Step.LARGEST),
    "permute": _permuted,
    "transpose": _transposed,
    "t": _transposed,
    "view": _reshaped("size"),
    "_unsafe_view": _reshaped("size"),
    "reshape": _reshaped("shape"),
    "flatten": _flattened,
    "unsqueeze": _unsqueezed,
    "cat": _concatenated,
    "slice": _sliced,
    "select": _selected,
    "expand": _expanded,
}
