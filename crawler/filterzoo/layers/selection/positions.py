"""Sparse convolutions with one axis for all kernel positions, (positions, in, out): never read as 1-D kernels.

MinkowskiEngine and torchsparse store them in this form. No file states the order of the positions, so the weights
cannot be converted to canonical order. With few outputs their shape is that of a 1-D convolution with `positions`
outputs; the preceding layer, whose outputs it reads, distinguishes the two.
"""

from __future__ import annotations

from collections.abc import Iterable

from filterzoo.layers.selection.candidates import Candidate
from filterzoo.records import Layout, Tensor

_POSITIONS = frozenset({8, 27, 64, 125, 343})
"""Number of positions of 3-D kernels with sides of 2, 3, 4, 5 and 7."""


def over_positions(candidates: Iterable[Candidate], undecided: Iterable[Tensor]) -> set[str]:
    """The 1-D candidates that, as (positions, in, out), read the output of an undecided array or of each other."""
    possible = [each for each in candidates if _may_be_one(each.tensor) and each.bias != each.first]
    output_channels = {tensor.shape[2] for tensor in undecided if _may_be_one(tensor)}
    found: set[str] = set()
    while True:
        more = [each for each in possible if each.name not in found and each.tensor.shape[1] in output_channels]
        if not more:
            return found
        found.update(each.name for each in more)
        output_channels.update(each.tensor.shape[2] for each in more)


def _may_be_one(tensor: Tensor) -> bool:
    is_free = tensor.convolution is None and tensor.layout is Layout.OI_K
    return is_free and len(tensor.shape) == 3 and tensor.shape[0] in _POSITIONS
