"""Which OpenVINO operations are convolutions, the layout of their weights, and their attributes."""

from __future__ import annotations

import re
from dataclasses import dataclass

from filterzoo import Context, Convolution, Kind, Layout, Reason, Refused
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.openvino.document import LayerEntry

_MAX_SIDE = 1 << 31
_OPSETS = re.compile(r"opset[0-9]{1,2}|type_relaxed_opset")
_UNKNOWN = re.compile(r"conv(?!ert)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Operator:
    """A convolution. weight: its port. is_grouped: whether the first axis of the weight is that of the groups."""

    weight: int = 1
    is_grouped: bool = False
    is_transposed: bool = False

    @property
    def layout(self) -> Layout:
        """(out, in/groups, *kernel), or (in, out/groups, *kernel) if it is transposed, with groups joined."""
        return Layout.IO_K if self.is_transposed else Layout.OI_K


_CONVOLUTIONS = {
    "Convolution": Operator(),
    "GroupConvolution": Operator(is_grouped=True),
    "ConvolutionBackpropData": Operator(is_transposed=True),
    "GroupConvolutionBackpropData": Operator(is_grouped=True, is_transposed=True),
    "DeformableConvolution": Operator(weight=2),
}
"""By type (OpenVINO's operation sets)."""


def operator_of(layer: LayerEntry) -> Operator | None:
    """The table entry of a layer, None for others."""
    return _CONVOLUTIONS.get(layer.type) if _OPSETS.fullmatch(layer.opset) else None


def looks_like_convolution(type_: str) -> bool:
    """Whether an operation is named like a convolution."""
    return _UNKNOWN.search(type_) is not None


def joined_shape(operator: Operator, shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The weight's shape, groups merged into the next axis; Refused for invalid shapes."""
    rank = len(shape) - (1 if operator.is_grouped else 0)
    if not 3 <= rank <= 5 or 0 in shape:
        raise Refused(Reason.MALFORMED, f"a convolution with a weight of shape {shape[:8]}", where)
    return (shape[0] * shape[1], *shape[2:]) if operator.is_grouped else shape


def convolution_of(layer: LayerEntry, operator: Operator, shape: tuple[int, ...], depth: int) -> Convolution:
    """The convolution of a layer; `shape` is its weight's, as the layer reads it.

    Padding is None if it depends on the input (auto_pad). Refused (malformed) if shape and attributes contradict.
    """
    where, rank = show(layer.name), len(joined_shape(operator, shape, show(layer.name))) - 2
    groups, own = (shape[0], shape[2]) if operator.is_grouped else (1, shape[1])
    if "group" in layer.data:  # of a DeformableConvolution
        (groups,) = layer.integers("group") or (0,)
        if groups < 1 or shape[0] % groups:
            raise Refused(Reason.MALFORMED, f"{groups} groups of a weight of shape {shape}", where)
    ones = (1,) * rank
    stride, dilation = layer.integers("strides", ones), layer.integers("dilations", ones)
    if not len(stride) == len(dilation) == rank or min(stride + dilation) < 1 or max(stride + dilation) >= _MAX_SIDE:
        raise Refused(Reason.MALFORMED, f"strides {stride} and dilations {dilation} of a kernel of {rank} axes", where)
    kind = Kind.CONV if groups == 1 else Kind.DEPTHWISE if own == 1 else Kind.GROUPED
    return Convolution(
        kind=Kind.TRANSPOSED if operator.is_transposed else kind,
        context=Context.GRAPH,
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=_padding(layer, rank, where),
        depth=depth,
    )


def _padding(layer: LayerEntry, rank: int, where: str) -> tuple[int, ...] | None:
    """(begin of each axis, end of each axis)."""
    automatic = layer.data.get("auto_pad", "explicit").lower()
    zeros = (0,) * rank
    if automatic in {"same_upper", "same_lower"}:
        return None
    if automatic == "valid":
        return zeros * 2
    if automatic not in {"explicit", "notset"}:
        raise Refused(Reason.MALFORMED, f"an auto_pad of {show(automatic)}", where)
    padding = layer.integers("pads_begin", zeros) + layer.integers("pads_end", zeros)
    if len(padding) != 2 * rank or max(map(abs, padding)) >= _MAX_SIDE:
        raise Refused(Reason.MALFORMED, f"padding {padding} of a kernel of {rank} axes", where)
    return padding
