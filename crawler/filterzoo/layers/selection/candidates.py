"""Which tensors are convolution weights, from their shapes and those of their biases; a name alone excludes none.

A bias as long as the outputs indicates a convolution; a bias of the weight's shape a LayerNorm over several axes; a
bias with several axes an ensemble or an attention kernel. Without a bias, the kernel must have a usual shape. A tensor
without a weight's name needs more evidence: a fitting bias, or a square odd kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from filterzoo.dtypes import DTYPES, NumberClass
from filterzoo.layers.selection import names
from filterzoo.layers.selection.layouts import LARGE, irregular
from filterzoo.layers.shapes import canonical_shape
from filterzoo.records import Layout, Tensor

_FAR = 15
"""Longest kernel of a 1-D convolution without other evidence."""


class PassedOver(StrEnum):
    """Why an array of rank 3 to 5 is not selected as a convolution weight."""

    NUMBERS = "numbers"
    """Integers without a scale, booleans or complex numbers."""
    COPY = "copy"
    """The optimiser state of a weight, or a copy of it."""
    ADAPTER = "adapter"
    """A part of an adapter, such as LoRA."""
    ELEMENTWISE = "elementwise"
    """An elementwise weight: its bias has the same shape, or all axes but one have length 1."""
    STACKED = "stacked"
    """Stacked matrices of linear or attention layers, by their bias or their last two axes."""
    NO_WEIGHT = "no weight"
    """Neither the name nor the shape of a weight: positions, masks, tables."""
    UNDECIDED = "undecided"
    """Undecided: nothing in the file shows whether it is a convolution."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A tensor that is a convolution weight. `first`, `second`: its canonical channel axes before its kind is known."""

    tensor: Tensor
    first: int
    second: int
    kernel: tuple[int, ...]
    bias: int | None

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.tensor.name

    @property
    def is_pointwise(self) -> bool:
        """Whether its kernel is a single number."""
        return set(self.kernel) == {1}

    @property
    def is_even(self) -> bool:
        """Whether all its sides except those of length 1 are even, as is frequent in transposed convolutions."""
        return not self.is_pointwise and all(side % 2 == 0 for side in self.kernel if side > 1)


def judged(tensor: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> Candidate | PassedOver | None:
    """The tensor as a candidate, or why it is not one; None for ranks other than 3 to 5."""
    if not 3 <= len(tensor.shape) <= 5 or 0 in tensor.shape:
        return None
    if not _is_number(tensor):
        return PassedOver.NUMBERS
    if tensor.layout is Layout.OTHER:
        return PassedOver.STACKED
    first, second, *kernel = canonical_shape(tensor)
    bias = bias_of(tensor, shapes)
    candidate = Candidate(
        tensor, first, second, tuple(kernel), bias[0] if bias is not None and len(bias) == 1 else None
    )
    if tensor.convolution is not None:
        return candidate
    why = PassedOver.ELEMENTWISE if names.is_bias(tensor.name) else _contradiction(tensor, candidate, bias)
    if why is not None:
        return why
    if not names.is_weight(tensor.name):
        if any(shapes.get(name) == tensor.shape for name in names.weights_beside(tensor.name)):
            return PassedOver.NO_WEIGHT  # a mask or a score for each element of the weight
        return candidate if _is_convolution_shaped(candidate) else PassedOver.NO_WEIGHT
    return candidate if len(tensor.shape) > 3 or _is_sequence_kernel(candidate) else PassedOver.UNDECIDED


def bias_of(tensor: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of a weight's bias."""
    for name in names.biases(tensor.name):
        if name in shapes and name != tensor.name:
            return shapes[name]
    return None


def _is_number(tensor: Tensor) -> bool:
    number_class = DTYPES[tensor.dtype].number_class
    if number_class is NumberClass.INTEGER:
        return tensor.quantisation is not None
    return number_class is NumberClass.FLOAT and tensor.dtype != "F8_E8M0"  # powers of two, which are scales


def _contradiction(tensor: Tensor, candidate: Candidate, bias: tuple[int, ...] | None) -> PassedOver | None:
    first, second, kernel = candidate.first, candidate.second, candidate.kernel
    if bias is not None and len(tensor.shape) > 1 and bias == tensor.shape:
        return PassedOver.ELEMENTWISE
    if bias is not None and len(bias) > 1 and sum(side != 1 for side in bias) > 1:
        return PassedOver.STACKED
    if candidate.bias is not None and not _fits(candidate.bias, first, second):
        return PassedOver.STACKED
    spread = first > 1 and second == 1
    if spread and candidate.bias is None and not names.says_convolution(tensor.name) and set(kernel) == {1}:
        return PassedOver.ELEMENTWISE
    if first == 1 and candidate.bias is None and max(kernel) > LARGE and irregular(kernel) > 0:
        return PassedOver.NO_WEIGHT
    return None


def _fits(bias: int, first: int, second: int) -> bool:
    """Whether the bias is as long as the outputs of an ordinary, a transposed or a depthwise convolution."""
    return bias == first or (bias % second == 0 and first % (bias // second or 1) == 0)


def _is_convolution_shaped(candidate: Candidate) -> bool:
    """Whether it is one without a weight's name: a fitting bias, or several channels and a square odd kernel over 1."""
    if names.is_part(candidate.name) or candidate.is_pointwise:
        return False
    if candidate.bias is not None and candidate.bias == candidate.first > 1 and irregular(candidate.kernel) < 1:
        return len(candidate.kernel) > 1
    side = candidate.kernel[0]
    is_square = len(candidate.kernel) > 1 and set(candidate.kernel) == {side}
    return is_square and side % 2 == 1 and 1 < side <= LARGE and candidate.first > 1


def _is_sequence_kernel(candidate: Candidate) -> bool:
    """Whether rank 3 is a 1-D convolution: its kernel is short, and the length differs from the number of inputs."""
    (side,) = candidate.kernel
    if candidate.bias is not None and candidate.bias == candidate.second != candidate.first:
        return True  # the bias of a transposed convolution: stacked matrices and bilinear layers have others
    if side == 1 and candidate.tensor.layout is Layout.K_IO and candidate.bias is None:
        return False  # (1, positions, channels): learned position embeddings have the same shape
    if side <= 2:
        return True
    if side == candidate.second and side > 3:
        return False
    if side % 2 == 0 and side > 4 and side * candidate.second == candidate.first:
        return False  # heads times width: the output of an attention layer
    if side % 2 == 1:
        return side <= _FAR or candidate.second == 1
    return side <= 4 or candidate.second == 1


def is_reached(candidate: Candidate, sequences: Sequence[Candidate]) -> bool:
    """Whether the channels of an undecided kernel of rank 3 match those of a 1-D convolution in the file."""
    return any(
        other.first == candidate.second or other.second == candidate.first
        for other in sequences
        if len(other.kernel) == 1 and other.kernel[0] > 2
    )
