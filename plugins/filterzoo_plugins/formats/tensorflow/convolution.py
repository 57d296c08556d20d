"""Which TensorFlow operations are convolutions, the layout of their weights, and their attributes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from filterzoo import Context, Convolution, Kind, Layout, Reason, Refused
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.tensorflow.document import Node

_MAX_SIDE = 1 << 31
_UNKNOWN = re.compile(r"conv(?!ert)", re.IGNORECASE)
_OF_GRADIENTS = re.compile(r"BackpropFilter|FilterGrad")


@dataclass(frozen=True, slots=True)
class Operator:
    """A convolution. weight, data: positions of these inputs. rank: of its weight."""

    layout: Layout
    rank: int
    weight: int = 1
    data: int = 0


_CONVOLUTIONS = {
    "Conv2D": Operator(Layout.K_IO, 4),
    "DepthwiseConv2dNative": Operator(Layout.K_IM, 4),
    "Conv2DBackpropInput": Operator(Layout.K_OI, 4, data=2),
    "Conv3D": Operator(Layout.K_IO, 5),
    "Conv3DBackpropInput": Operator(Layout.K_OI, 5, data=2),
    "Conv3DBackpropInputV2": Operator(Layout.K_OI, 5, data=2),
}
"""By operation (nn_ops.cc). Transposed convolutions are called BackpropInput."""


def operator_of(node: Node) -> Operator | None:
    """The table entry of a node, None for others."""
    return _CONVOLUTIONS.get(node.operation)


def looks_like_convolution(node: Node) -> bool:
    """Whether an operation is named like a convolution, except for the gradient operations of training."""
    return _UNKNOWN.search(node.operation) is not None and _OF_GRADIENTS.search(node.operation) is None


def convolution_of(
    node: Node,
    operator: Operator,
    shape: tuple[int, ...],
    channels: int | None,
    block: tuple[int, ...] | None,
    *,
    depth: int,
) -> Convolution:
    """The convolution of a node; `shape` is its weight's, `channels` its input's, None if unknown.

    block: the block shape of a preceding SpaceToBatchND, by which TensorFlow implements dilation; () if unknown, None
    without one. Padding is None if it depends on the input. Refused (malformed) if attributes and shapes contradict.
    """
    where, kernel = show(node.name), operator.rank - 2
    if len(shape) != operator.rank or 0 in shape:
        raise Refused(Reason.MALFORMED, f"a convolution with a weight of shape {shape[:8]}", where)
    is_first = has_channels_first(node)
    stride, own = (
        _spatial(node, "strides", kernel, where, is_first),
        _spatial(node, "dilations", kernel, where, is_first),
    )
    dilation: tuple[int, ...] | None = own
    if block is not None:
        dilation = tuple(a * b for a, b in zip(own, block, strict=True)) if len(block) == kernel and own else None
    groups, kind = _groups(operator, shape, channels, where)
    return Convolution(
        kind=kind,
        context=Context.GRAPH,
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=_padding(node, kernel, where, is_first) if block is None else None,
        depth=depth,
    )


def canonical_channels(operator: Operator, shape: tuple[int, ...]) -> int:
    """The number of output channels."""
    match operator.layout:
        case Layout.K_OI:
            return shape[-2]
        case Layout.K_IM:
            return shape[-2] * shape[-1]
        case _:
            return shape[-1]


def has_channels_first(node: Node) -> bool:
    """Whether the input is channels first (NCHW)."""
    return node.text("data_format").startswith("NC")


def _groups(operator: Operator, shape: tuple[int, ...], channels: int | None, where: str) -> tuple[int | None, Kind]:
    if operator.layout is Layout.K_OI:
        return 1, Kind.TRANSPOSED
    if operator.layout is Layout.K_IM:
        if channels not in {None, shape[-2]}:
            raise Refused(Reason.MALFORMED, f"a weight of shape {shape} for an input of {channels} channels", where)
        return shape[-2], Kind.CONV if shape[-2] == 1 else Kind.DEPTHWISE
    groups, rest = (None, 0) if channels is None else divmod(channels, shape[-2])
    if rest or groups == 0 or shape[-1] % (groups or 1):
        raise Refused(Reason.MALFORMED, f"a weight of shape {shape} for an input of {channels} channels", where)
    if groups is None or groups == 1:
        return groups, Kind.CONV
    return groups, Kind.DEPTHWISE if shape[-2] == 1 else Kind.GROUPED


def _spatial(node: Node, key: str, kernel: int, where: str, is_first: bool) -> tuple[int, ...]:  # noqa: FBT001  # of the node
    """Strides or dilations along the kernel's axes; ones by default."""
    numbers = node.integers(key) or (1,) * (kernel + 2)
    if len(numbers) != kernel + 2 or not all(0 < number < _MAX_SIDE for number in numbers):
        raise Refused(Reason.MALFORMED, f"{key} {numbers[:8]} of a kernel of {kernel} axes", where)
    return numbers[2:] if is_first else numbers[1:-1]


def _padding(node: Node, kernel: int, where: str, is_first: bool) -> tuple[int, ...] | None:  # noqa: FBT001  # of the node
    """(begin of each axis, end of each axis)."""
    match node.text("padding"):
        case "VALID":
            return (0,) * (2 * kernel)
        case "SAME":
            return None
        case "EXPLICIT":
            numbers = node.integers("explicit_paddings")
            if len(numbers) != 2 * (kernel + 2) or not all(0 <= number < _MAX_SIDE for number in numbers):
                raise Refused(Reason.MALFORMED, f"padding {numbers[:12]} of a kernel of {kernel} axes", where)
            inner = numbers[4:] if is_first else numbers[2:-2]
            return inner[::2] + inner[1::2]
        case other:
            raise Refused(Reason.MALFORMED, f"padding {show(other)!r}", where)
