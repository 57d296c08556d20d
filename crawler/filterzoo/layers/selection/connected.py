"""Weights of unusual shape: selected if their channels connect to other layers, otherwise `undecided`.

Stacked attention kernels, capsules, spectral weights and locally connected layers look like kernels with very unequal
sides. Norms over (C, H, W) without a bias, and bilinear layers, look like 1-D kernels among 2-D kernels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from filterzoo.layers.selection.candidates import Candidate
from filterzoo.layers.selection.layouts import irregular
from filterzoo.layers.selection.state_dict import StateDict

_ODD = 1.5
"""Least penalty of an unequal kernel: 3 by 7 by 7 has 1.47, 4 by 10 has 1.67."""
_FAR = 5.0
"""Upper bound of the penalty of kernels that read an image or a spectrogram: 41 by 11 has 4.05."""
_COLOURS = 4
_FEW = 16
"""Numbers of channels up to this are too often the sum of two others by chance."""


def unconnected(state_dict: StateDict) -> set[str]:
    """The candidates of unusual shape that no bias, norm or channels of other layers confirm, by name."""
    free = [each for each in state_dict.candidates if each.tensor.convolution is None]
    long, short = [each for each in free if _is_uneven(each)], [each for each in free if _is_short(each)]
    if not long and not short:
        return set()
    odd = {each.name for each in (*long, *short)}
    regular = [each for each in state_dict.candidates if each.name not in odd]
    known_channels = {each.first for each in regular} | {
        each.second for each in regular if each.bias not in {None, each.first}
    }
    found = _not_read(long, regular, known_channels, state_dict)
    axes = Counter(len(each.kernel) for each in regular)
    if sum(count for sides, count in axes.items() if sides > 1) < 2 * len(short):
        return found  # a network of 1-D layers
    known_channels.update(side for _, *sides in state_dict.matrices for side in sides)
    return found | {each.name for each in short if not _is_read(each, known_channels, state_dict)}


def _not_read(
    long: Sequence[Candidate], regular: Sequence[Candidate], known_channels: set[int], state_dict: StateDict
) -> set[str]:
    """The unequal kernels without a vector that read neither a layer of equal rank nor the network's input.

    known_channels: numbers of output channels of layers; those of confirmed kernels are added.
    """
    axes = Counter(len(each.kernel) for each in regular)
    rank = axes.most_common(1)[0][0] if axes else 0
    is_input_read = any(each.second <= _COLOURS for each in regular)
    left = list(long)
    while True:
        confirmed = [
            each
            for each in left
            if _has_vector(each, state_dict)
            or (len(each.kernel) == rank and each.second in known_channels)
            or (each.second <= _COLOURS and not is_input_read and irregular(each.kernel) < _FAR)
        ]
        if not confirmed:
            return {each.name for each in left}
        known_channels.update(each.first for each in confirmed)
        rank = rank or len(confirmed[0].kernel)
        is_input_read |= any(each.second <= _COLOURS for each in confirmed)
        left = [each for each in left if each not in confirmed]


def _is_uneven(candidate: Candidate) -> bool:
    """Whether its kernel has two or more different sides above 1, one of them much longer."""
    return len(set(candidate.kernel) - {1}) > 1 and irregular(candidate.kernel) >= _ODD


def _is_short(candidate: Candidate) -> bool:
    return len(candidate.kernel) == 1 and candidate.kernel[0] > 1 and candidate.second > 1


def _has_vector(candidate: Candidate, state_dict: StateDict) -> bool:
    """Whether its bias, or the norm layer after it, is as long as its outputs."""
    return candidate.bias == candidate.first or (
        not state_dict.is_sorted and state_dict.next_vector(candidate) == candidate.first
    )


def _is_read(candidate: Candidate, known_channels: set[int], state_dict: StateDict) -> bool:
    """Whether a 1-D kernel reads the outputs of one or two other layers, or few channels before a norm."""
    reads = candidate.second
    if candidate.bias is not None and candidate.bias != candidate.first:
        return True  # certainly transposed: no other layer has such a bias
    if reads in known_channels or (reads > _FEW and any(reads - number in known_channels for number in known_channels)):
        return True
    return reads <= _COLOURS and _has_vector(candidate, state_dict)
