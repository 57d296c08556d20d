"""Facts about the outputs of a TensorFlow graph's operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from filterzoo import Tensor
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.formats.tensorflow.document import Node
from filterzoo_plugins.formats.tensorflow.folds import SAME
from filterzoo_plugins.formats.tensorflow.types import STRING, StoredConstant

_SAME_CHANNELS = SAME | {
    "BiasAdd", "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Sigmoid", "Tanh", "Softplus", "FusedBatchNorm",
    "FusedBatchNormV2", "FusedBatchNormV3", "MaxPool", "MaxPoolV2", "AvgPool", "SpaceToBatchND", "BatchToSpaceND",
    "ResizeBilinear", "ResizeNearestNeighbor",
}  # fmt: skip
"""Operations with equal numbers of input and output channels."""
_SPREADING = frozenset({"Add", "AddV2", "Mul", "Sub", "Maximum", "Minimum"})
"""Operations whose output has as many channels as the input with more than one."""


@dataclass(frozen=True, slots=True)
class Value:
    """Facts about an output: depth (docs/measures.md, 2), whether it depends on an input, its value if constant.

    variable: the name of a variable, if it is a handle. key: its entry in the checkpoint. stated: the stored constant.
    channels: number of channels, if it depends on an input, and whether they come first. block: the block shape of
    SpaceToBatchND. obstacle: why the value of a constant is not known.
    """

    depth: int = 0
    live: bool = False
    tensor: Tensor | None = None
    variable: str = ""
    key: str = ""
    channels: tuple[int, bool] | None = None
    block: tuple[int, ...] | None = None
    stated: StoredConstant | None = None
    obstacle: str = ""


Scope = dict[str, list[Value]]
"""Outputs of nodes and arguments of a function, by name."""


def constant(node: Node) -> Value:
    """The value of a Const."""
    numbers = node.attributes.get("value")
    if not isinstance(numbers, StoredConstant):
        return Value(obstacle="a constant without a value")
    if numbers.type == STRING:
        return Value(stated=numbers, obstacle="a constant of texts")
    try:
        return Value(tensor=numbers.tensor(), stated=numbers)
    except Unfoldable as error:
        return Value(stated=numbers, obstacle=str(error))


def channels_of(node: Node, inputs: Sequence[Value]) -> tuple[int, bool] | None:
    """The number of output channels of an operation, if its inputs determine it."""
    known = {value.channels for value in inputs if value.live and value.channels is not None}
    if node.operation in _SPREADING:
        return known.pop() if len(known) == 1 and all(count > 1 for count, _ in known) else None
    return known.pop() if node.operation in _SAME_CHANNELS and len(known) == 1 else None


def kept_block(node: Node, inputs: Sequence[Value]) -> tuple[int, ...] | None:
    """The block shape for the next operation: a dilated convolution directly follows SpaceToBatchND."""
    return inputs[0].block if node.operation in SAME and inputs else None


def joined(values: Sequence[Value]) -> Value:
    """The merged value of several branches."""
    first = values[0]
    if all(value == first for value in values):
        return first
    return Value(max(value.depth for value in values), live=True)
