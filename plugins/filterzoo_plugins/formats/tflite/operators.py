"""Which TFLite operators are convolutions, the layout of their weights, and their options."""

from __future__ import annotations

import re
from dataclasses import dataclass

from filterzoo import Context, Convolution, Kind, Layout, Reason, Refused
from filterzoo_plugins.encodings.flatbuffer import Table
from filterzoo_plugins.formats.tflite.model import OperatorEntry

_SAME, _VALID = 0, 1


@dataclass(frozen=True, slots=True)
class Operator:
    """A convolution: positions of its weight and its input, layout of the weight, and slots of its options.

    strides and dilations: slots in the order of the kernel's axes.
    """

    layout: Layout
    weight: int
    data: int
    rank: int
    options_type: int
    strides: tuple[int, ...]
    dilations: tuple[int, ...] = ()
    transposed: bool = False


CONVOLUTIONS = {
    3: Operator(Layout.O_K_I, 1, 0, 4, 1, strides=(2, 1), dilations=(5, 4)),  # CONV_2D
    4: Operator(Layout.ONE_K_O, 1, 0, 4, 2, strides=(2, 1), dilations=(6, 5)),  # DEPTHWISE_CONV_2D
    67: Operator(Layout.O_K_I, 1, 2, 4, 49, strides=(2, 1), transposed=True),  # TRANSPOSE_CONV
    132: Operator(Layout.K_IO, 1, 0, 5, 106, strides=(1, 3, 2), dilations=(5, 7, 6)),  # CONV_3D
    141: Operator(Layout.K_OI, 1, 2, 5, 106, strides=(1, 3, 2), dilations=(5, 7, 6), transposed=True),  # its transpose
}  # fmt: skip
"""By BuiltinOperator. The reference kernels (tensorflow/lite/kernels/internal/reference) define the layouts."""

_STABLEHLO_CONVOLUTION = 171
_UNKNOWN_CONVOLUTION = re.compile(r"conv(?!ert)", re.IGNORECASE)


def looks_like_convolution(operator: OperatorEntry) -> bool:
    """Whether an operator outside the table is named like a convolution."""
    return operator.code == _STABLEHLO_CONVOLUTION or _UNKNOWN_CONVOLUTION.search(operator.custom) is not None


def convolution_of(
    operator: Operator,
    entry: OperatorEntry,
    shape: tuple[int, ...],
    channels: int | None,
    *,
    depth: int,
    where: str,
) -> Convolution:
    """The convolution of a node; `shape` is its weight's, `channels` its input's, None if unknown.

    Padding is None if it depends on the input (SAME). Refused (malformed) if options and shapes contradict.
    """
    options = entry.options
    if options is None or entry.options_type != operator.options_type:
        raise Refused(Reason.MALFORMED, "a convolution without its options", where)
    if len(shape) != operator.rank or 0 in shape:
        raise Refused(Reason.MALFORMED, f"a weight of shape {shape} in a convolution of rank {operator.rank}", where)
    groups = _groups(operator, options, shape, channels, where)
    stride = tuple(options.integer(slot, "i") for slot in operator.strides)
    dilation = tuple(options.integer(slot, "i", 1) for slot in operator.dilations) or (1,) * len(stride)
    padding = options.integer(0, "b")
    if min(stride + dilation) < 1 or padding not in {_SAME, _VALID}:
        raise Refused(Reason.MALFORMED, f"strides {stride}, dilations {dilation}, padding {padding}", where)
    return Convolution(
        kind=_kind(operator, groups, shape),
        context=Context.GRAPH,
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=(0,) * (2 * len(stride)) if padding == _VALID else None,
        depth=depth,
    )


def _groups(operator: Operator, options: Table, shape: tuple[int, ...], channels: int | None, where: str) -> int | None:
    """The number of groups; None if it requires the input's channels and they are unknown."""
    if operator.transposed:
        return 1
    if operator.layout is Layout.ONE_K_O:
        multiplier = options.integer(3, "i")
        outputs = shape[-1]
        # Newer writers omit the multiplier, which follows from the input.
        groups = channels or (outputs // multiplier if multiplier > 0 else None)
        own = 1
    else:
        own, outputs = (shape[3], shape[0]) if operator.layout is Layout.O_K_I else (shape[3], shape[4])
        groups = None if channels is None else channels // own
    if groups is not None and (groups < 1 or outputs % groups or (channels and groups * own != channels)):
        raise Refused(Reason.MALFORMED, f"a weight of shape {shape} for an input of {channels} channels", where)
    return groups


def _kind(operator: Operator, groups: int | None, shape: tuple[int, ...]) -> Kind:
    if operator.transposed:
        return Kind.TRANSPOSED
    if groups is None or groups == 1:
        return Kind.DEPTHWISE if groups is None and operator.layout is Layout.ONE_K_O else Kind.CONV
    return Kind.DEPTHWISE if operator.layout is Layout.ONE_K_O or shape[3] == 1 else Kind.GROUPED
