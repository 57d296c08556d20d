"""Sparse convolutions with one axis for all positions of the kernel, (positions, in, out): never read as 1-D kernels.

MinkowskiEngine and torchsparse store them so. The order of the positions is in no file: the weights cannot be brought
into canonical order. With few outputs their shape is that of a 1-D convolution of `positions` outputs; the layer before
it, whose outputs it reads, tells.
"""

from __future__ import annotations

from collections.abc import Iterable

from filterzoo.layers.selection.candidates import Candidate
from filterzoo.records import Layout, Tensor

_POSITIONS = frozenset({8, 27, 64, 125, 343})
"""Kernels of 2, 3, 4, 5 and 7 in three dimensions."""


def over_positions(candidates: Iterable[Candidate], undecided: Iterable[Tensor]) -> set[str]:
    """The names of 1-D candidates that read, as (positions, in, out), what an undecided array or one of them gives."""
    open_ones = [each for each in candidates if _may_be_one(each.tensor) and each.bias != each.first]
    given = {tensor.shape[2] for tensor in undecided if _may_be_one(tensor)}
    found: set[str] = set()
    while True:
        more = [each for each in open_ones if each.name not in found and each.tensor.shape[1] in given]
        if not more:
            return found
        found.update(each.name for each in more)
        given.update(each.tensor.shape[2] for each in more)


def _may_be_one(tensor: Tensor) -> bool:
    is_free = tensor.convolution is None and tensor.layout is Layout.OI_K
    return is_free and len(tensor.shape) == 3 and tensor.shape[0] in _POSITIONS
