"""The convolution of a node, from its attributes."""

from __future__ import annotations

from collections.abc import Mapping

from filterzoo import Context, Convolution, Kind, Reason, Refused
from filterzoo_plugins.formats.onnx.model import Attribute
from filterzoo_plugins.formats.onnx.operators import Operator

_MAX_SIDE = 1 << 31


def convolution_of(
    operator: Operator, attributes: Mapping[str, Attribute], shape: tuple[int, ...], depth: int, where: str
) -> Convolution:
    """The convolution of a node; `shape` is its weight's, as the operator reads it.

    Absent attributes have ONNX's defaults: stride 1, dilation 1, padding 0, one group; padding is None if it depends on
    the input (auto_pad SAME_*). Refused (malformed) if attributes and shape contradict each other.
    """
    kernel = shape[2:]
    groups = attributes["group"].integer if "group" in attributes else 1
    if 0 in shape or groups < 1 or shape[0] % groups:
        raise Refused(Reason.MALFORMED, f"{groups} groups do not divide a weight of shape {shape}", where)
    stated = _integers(attributes, "kernel_shape", kernel, where)
    if stated != kernel:
        raise Refused(Reason.MALFORMED, f"kernel_shape {stated} is not that of a weight of shape {shape}", where)
    ones = (1,) * len(kernel)
    stride = _integers(attributes, "strides", ones, where)
    dilation = _integers(attributes, "dilations", ones, where)
    if min(stride + dilation) < 1:
        raise Refused(Reason.MALFORMED, f"strides {stride} or dilations {dilation} below 1", where)
    depthwise = groups > 1 and shape[1] == 1
    kind = Kind.DEPTHWISE if depthwise else Kind.GROUPED if groups > 1 else Kind.CONV
    return Convolution(
        kind=Kind.TRANSPOSED if operator.transposed else kind,
        context=Context.GRAPH,
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=_padding(operator, attributes, len(kernel), where),
        depth=depth,
    )


def _padding(operator: Operator, attributes: Mapping[str, Attribute], rank: int, where: str) -> tuple[int, ...] | None:
    """(begin of each axis, end of each axis), None if it depends on the input."""
    if operator.pads_are_input:
        return None
    automatic = attributes["auto_pad"].text if "auto_pad" in attributes else ""
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        return None
    zeros = (0,) * (2 * rank)
    return zeros if automatic == "VALID" else _integers(attributes, "pads", zeros, where)


def _integers(attributes: Mapping[str, Attribute], name: str, default: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The attribute's integers, which must be as many as in the default."""
    if name not in attributes:
        return default
    attribute = attributes[name]
    if attribute.too_long or len(attribute.integers) != len(default):
        raise Refused(Reason.MALFORMED, f"{name} has not {len(default)} numbers", where)
    if any(abs(number) >= _MAX_SIDE for number in attribute.integers):
        raise Refused(Reason.MALFORMED, f"{name} is out of bounds: {attribute.integers}", where)
    return tuple(attribute.integers)
