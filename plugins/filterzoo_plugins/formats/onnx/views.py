"""The ONNX nodes between a stored array and a convolution, as views of the array."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from filterzoo import Layout, Refused, Span, Step, Tensor
from filterzoo_plugins.encodings.folding import packed
from filterzoo_plugins.formats.onnx.array import MAX_RANK, Array
from filterzoo_plugins.formats.onnx.constant import Constant, Value, read_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from filterzoo_plugins.encodings.protobuf import WireReader
    from filterzoo_plugins.formats.onnx.model import Attribute, Node


def attributes_of(node: Node, bindings: Mapping[str, Attribute]) -> Mapping[str, Attribute]:
    """A node's attributes; inside a function, references to attributes of the call are resolved."""
    if not any(attribute.reference for attribute in node.attributes.values()):
        return node.attributes
    resolved = {name: bindings.get(a.reference) if a.reference else a for name, a in node.attributes.items()}
    return {name: attribute for name, attribute in resolved.items() if attribute is not None}


def constant_of(node: Node, attributes: Mapping[str, Attribute]) -> Constant | None:
    """The value of a Constant node; None for text."""
    for name in ("value", "sparse_value"):
        if name in attributes:
            array = attributes[name].array
            return Constant.of(array) if array else None
    for name in ("value_float", "value_floats"):
        if name in attributes:
            return Constant.of(_of_floats(node, attributes[name], is_list=name.endswith("s")))
    for name in ("value_int", "value_ints"):
        if name in attributes and not attributes[name].too_long:
            attribute = attributes[name]
            numbers = (attribute.integer,) if name == "value_int" else tuple(attribute.integers)
            shape = (len(numbers),) if name == "value_ints" else ()
            array = _named(node, "I64", shape)
            return Constant.of(replace(array, literal=numbers, obstacle="it is an attribute"))
    return None


def _named(node: Node, dtype: str, shape: tuple[int, ...]) -> Array:
    return Array(name=node.outputs[0] if node.outputs else "", offset=node.offset, dtype=dtype, shape=shape)


def _of_floats(node: Node, attribute: Attribute, *, is_list: bool) -> Array:
    """Floats in an attribute, contiguous or each after its tag."""
    floats = attribute.floats
    array = _named(node, "F32", (floats.count if floats else 0,) if is_list else ())
    if floats is None or floats.is_scattered or (not is_list and floats.count != 1):
        return replace(array, obstacle="it is an attribute in parts")
    if floats.period == 4:
        return replace(array, span=Span(floats.offset, 4 * floats.count))
    span = Span(floats.offset - 1, 5 * floats.count)
    fields = Tensor(name=array.name, dtype="U8", shape=(span.length,), span=span, layout=Layout.OTHER)
    return replace(array, packed=packed(fields, array.shape, "F32", Step.EVERY, numbers=(5, 1)))


def view(
    node: Node,
    attributes: Mapping[str, Attribute],
    constant: Constant,
    others: Sequence[Value | None],
    reader: WireReader,
) -> Constant:
    """The node's output for the input `constant`; `others` are its other inputs."""
    rank = len(constant.shape)
    match node.operator:
        case "Identity":
            return constant
        case "Cast":
            return constant.cast(attributes["to"].integer if "to" in attributes else 0)
        case "DequantizeLinear":
            if "block_size" in attributes and attributes["block_size"].integer:
                return constant.blocked("it is quantised in blocks")
            axis = attributes["axis"].integer if "axis" in attributes else 1
            return dequantised(constant, [None, *others], 1, 2, axis=axis)
        case "Transpose":
            turned = attributes["perm"].integers if "perm" in attributes else list(reversed(range(rank)))
            return constant.rearranged(turned)
    numbers = _stated_integers(node, attributes, others, reader)
    if numbers is None or len(numbers) > MAX_RANK or rank + len(numbers) > MAX_RANK:
        return constant.blocked(f"it passes a {node.operator} that cannot be followed")
    if node.operator == "Reshape":
        return _reshaped(constant, numbers, keep_zeros="allowzero" in attributes and attributes["allowzero"].integer)
    return _squeezed(constant, numbers) if node.operator == "Squeeze" else _unsqueezed(constant, numbers)


def dequantised(
    constant: Constant, inputs: Sequence[Value | None], scale: int, zero_point: int | None, *, axis: int
) -> Constant:
    """The constant with the scale and zero point at these positions among a node's inputs."""
    factor = inputs[scale] if scale < len(inputs) else None
    point = inputs[zero_point] if zero_point is not None and zero_point < len(inputs) else None
    if factor is None or factor.constant is None or (point is not None and point.constant is None):
        return constant.blocked("its scale or zero point is computed, not stored")
    return constant.dequantised(factor.constant, point.constant if point else None, axis)


def _stated_integers(
    node: Node, attributes: Mapping[str, Attribute], others: Sequence[Value | None], reader: WireReader
) -> list[int] | None:
    """The shape or the axes: an attribute in old opsets, an input in new ones."""
    name = "shape" if node.operator == "Reshape" else "axes"
    if name in attributes:
        return None if attributes[name].too_long else attributes[name].integers
    if not others or others[0] is None:
        return [] if node.operator == "Squeeze" else None
    stated = others[0].constant
    if stated is None or stated.array.count > MAX_RANK:
        return None
    try:
        return [int(number) for number in read_numbers(stated, reader, node.where)]
    except (Refused, ValueError, OverflowError):
        # This matters only if a convolution reads the result, and is reported there.
        return None


def _reshaped(constant: Constant, shape: Sequence[int], *, keep_zeros: int | bool) -> Constant:
    """0 keeps the length of the axis; a single -1 is computed."""
    old = constant.shape
    sides = [
        old[place] if side == 0 and not keep_zeros and place < len(old) else side for place, side in enumerate(shape)
    ]
    rest = 1
    for side in sides:
        rest *= abs(side) if side != -1 else 1
    if sides.count(-1) == 1 and rest:
        sides[sides.index(-1)] = prod(constant.shape) // rest
    return constant.reshaped(tuple(sides)) if min(sides, default=0) >= 0 else constant.blocked("it is reshaped")


def _squeezed(constant: Constant, axes: Sequence[int]) -> Constant:
    rank = len(constant.shape)
    dropped = _axes_from_front(axes, rank) if axes else [axis for axis, side in enumerate(constant.shape) if side == 1]
    if dropped is None:
        return constant.blocked(f"axes {tuple(axes)} are not those of shape {constant.shape}")
    return constant.rearranged([axis for axis in range(rank) if axis not in dropped])


def _unsqueezed(constant: Constant, axes: Sequence[int]) -> Constant:
    rank = len(constant.shape) + len(axes)
    new = _axes_from_front(axes, rank)
    if new is None:
        return constant.blocked(f"axes {tuple(axes)} cannot be added to shape {constant.shape}")
    old = iter(range(len(constant.shape)))
    return constant.rearranged([None if axis in new else next(old) for axis in range(rank)])


def _axes_from_front(axes: Sequence[int], rank: int) -> list[int] | None:
    """Axes counted from the front; None if two are equal or one is invalid."""
    chosen = [axis + rank if axis < 0 else axis for axis in axes]
    valid = all(0 <= axis < rank for axis in chosen) and len(set(chosen)) == len(chosen)
    return chosen if valid else None


def integer_scales(nodes: Sequence[Node]) -> dict[str, tuple[str, ...]]:
    """Output of each ConvInteger -> the names that may be its weight's scale.

    Dynamic quantisation (onnxruntime.quantization.quantize_dynamic) writes the scale after the convolution:
    Mul(Cast(ConvInteger(x, w)), Mul(scale of x, scale of w)).
    """
    integer = [node.outputs[0] for node in nodes if node.operator == "ConvInteger" and node.outputs]
    if not integer:
        return {}
    products = [node for node in nodes if node.operator == "Mul" and len(node.inputs) == 2 and node.outputs]
    casts = {
        node.inputs[0]: node.outputs[0] for node in nodes if node.operator == "Cast" and node.inputs and node.outputs
    }
    factors = {node.outputs[0]: tuple(node.inputs) for node in products}
    partners = {mine: other for a, b in factors.values() for mine, other in ((a, b), (b, a))}
    found = {name: partners[casts[name]] for name in integer if casts.get(name) in partners}
    return {name: factors.get(partner, (partner,)) for name, partner in found.items()}
