"""Which ONNX operators are convolutions, and which of their inputs is the weight."""

from __future__ import annotations

import re
from dataclasses import dataclass

from filterzoo import Layout


@dataclass(frozen=True, slots=True)
class Operator:
    """A convolution: the positions of its weight and, if the weight is quantised, of scale and zero point."""

    weight: int = 1
    transposed: bool = False
    scale: int | None = None
    zero_point: int | None = None
    pads_are_input: bool = False

    @property
    def layout(self) -> Layout:
        """(out, in/groups, *kernel), or (in, out/groups, *kernel) if it is transposed."""
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

ConvInteger has four inputs; its scale, which is applied later in the graph, is appended as the fifth.
"""

BODIES = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""The standard operators that have graphs as attributes."""

_STANDARD_VIEWS = ("Identity", "Cast", "DequantizeLinear", "Transpose", "Reshape", "Unsqueeze", "Squeeze")
VIEWS = frozenset({("com.microsoft", "DequantizeLinear"), *(("", name) for name in _STANDARD_VIEWS)})
"""By domain and operator: nodes that are views of a stored weight."""

_FOLDED = "Add Sub Mul Div Pow Min Max Neg Abs Sqrt Reciprocal ReduceL1 ReduceL2 ReduceSum ReduceSumSquare ReduceMean"
_FOLDED += " ReduceMax Split Concat Slice Gather Expand Flatten MatMul Clip LpNormalization QuantizeLinear Shape"
FOLDS = VIEWS | {("com.microsoft", "QuantizeLinear"), *(("", name) for name in _FOLDED.split())}
"""By domain and operator: nodes that are folded if all their inputs are constant."""

READ_OPERATORS = frozenset({"Constant", *BODIES, *(name for domain, name in (*FOLDS, *CONVOLUTIONS) if not domain)})
"""The standard operators whose attributes are read."""

_UNKNOWN_CONVOLUTION = re.compile(r"conv(?!ert)", re.IGNORECASE)


def domain_of(name: str) -> str:
    """The canonical name of a domain; the default domain has two names."""
    return "" if name == "ai.onnx" else name


def looks_like_convolution(operator: str) -> bool:
    """Whether an operator outside the table is named like a convolution (NhwcConv, ModulatedDeformConv2d, ...)."""
    return _UNKNOWN_CONVOLUTION.search(operator) is not None
