"""Which ONNX operators are convolutions, which of their inputs is the weight, and what their attributes say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filterzoo.errors import Reason, Refused
from filterzoo.records import Context, Convolution, Kind, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from filterzoo_plugins.formats._onnx_model import Attribute


@dataclass(frozen=True, slots=True)
class Operator:
    """A convolution: the positions of its weight and, where the weight is quantised, of scale and zero point."""

    weight: int = 1
    transposed: bool = False
    scale: int | None = None
    zero_point: int | None = None
    pads_are_input: bool = False

    @property
    def layout(self) -> Layout:
        """(out, in/groups, *kernel), or (in, out/groups, *kernel) where it is transposed."""
        return Layout.IO_K if self.transposed else Layout.OI_K


CONVOLUTIONS = {
    ("", "Conv"): Operator(),
    ("", "ConvTranspose"): Operator(transposed=True),
    ("", "DeformConv"): Operator(),
    ("", "QLinearConv"): Operator(weight=3, scale=4, zero_point=5),
    ("", "ConvInteger"): Operator(scale=4, zero_point=3),
    ("com.microsoft", "FusedConv"): Operator(),
    ("com.microsoft", "QLinearConv"): Operator(weight=3, scale=4, zero_point=5),
    ("com.microsoft", "ConvTransposeWithDynamicPads"): Operator(transposed=True, pads_are_input=True),
}
"""By domain and operator (onnx/docs/Operators.md, onnxruntime/docs/ContribOperators.md).

ConvInteger has four inputs; the scale, which stands behind it in the graph, is put in the fifth place.
"""

BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""The standard operators that have graphs as attributes."""

_STANDARD_VIEWS = ("Identity", "Cast", "DequantizeLinear", "Transpose", "Reshape", "Unsqueeze", "Squeeze")
VIEWS = frozenset({("com.microsoft", "DequantizeLinear"), *(("", name) for name in _STANDARD_VIEWS)})
"""By domain and operator, those through which a stored weight is followed."""

READ_OPERATORS = frozenset({"Constant", *BODIES, *(name for domain, name in (*VIEWS, *CONVOLUTIONS) if not domain)})
"""The standard operators whose attributes are read."""

_UNKNOWN_CONVOLUTION = re.compile(r"conv(?!ert)", re.IGNORECASE)
_MAX_SIDE = 1 << 31


def domain_of(name: str) -> str:
    """The default domain has two names."""
    return "" if name == "ai.onnx" else name


def looks_like_convolution(operator: str) -> bool:
    """Whether an operator that is not in the table calls itself one (NhwcConv, ModulatedDeformConv2d, ...)."""
    return _UNKNOWN_CONVOLUTION.search(operator) is not None


def convolution_of(
    operator: Operator, attributes: Mapping[str, Attribute], shape: tuple[int, ...], depth: int, where: str
) -> Convolution:
    """What a node says of itself; `shape` is its weight's, as the operator reads it.

    Absent attributes have ONNX's defaults: stride 1, dilation 1, padding 0, one group; padding is None where the node
    chooses it itself (auto_pad SAME_*). Refused (malformed) where attributes and shape contradict each other.
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
    """(begin of each axis, end of each axis), None where it depends on the input."""
    if operator.pads_are_input:
        return None
    automatic = attributes["auto_pad"].text if "auto_pad" in attributes else ""
    if automatic in {"SAME_UPPER", "SAME_LOWER"}:
        return None
    zeros = (0,) * (2 * rank)
    return zeros if automatic == "VALID" else _integers(attributes, "pads", zeros, where)


def _integers(attributes: Mapping[str, Attribute], name: str, default: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The attribute's integers, which must be as many as the default's."""
    if name not in attributes:
        return default
    attribute = attributes[name]
    if attribute.too_long or len(attribute.integers) != len(default):
        raise Refused(Reason.MALFORMED, f"{name} has not {len(default)} numbers", where)
    if any(abs(number) >= _MAX_SIDE for number in attribute.integers):
        raise Refused(Reason.MALFORMED, f"{name} is out of bounds: {attribute.integers}", where)
    return tuple(attribute.integers)
