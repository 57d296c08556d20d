"""Weights shaped unlike a network's other layers: taken where their channels connect to others, `undecided` if not.

Stacked attention kernels, capsules, spectral weights and layers that share nothing over positions look like kernels of
very unequal sides; norms over (C, H, W) without a bias and bilinear layers like 1-D kernels among 2-D ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from filterzoo.layers.selection.candidates import Candidate
from filterzoo.layers.selection.layouts import irregular
from filterzoo.layers.selection.state_dict import StateDict

_ODD = 1.5
"""The least penalty of a kernel whose sides are unequal: 3 by 7 by 7 has 1.47, 4 by 10 has 1.67."""
_FAR = 5.0
"""More than the penalty of any kernel that reads an image or a spectrogram: 41 by 11 has 4.05."""
_COLOURS = 4
_FEW = 16
"""So many channels are the sum of two others too often by chance."""


def unconnected(state_dict: StateDict) -> set[str]:
    """The names of candidates of odd shape that neither a bias, a norm nor the channels of other layers confirm."""
    free = [each for each in state_dict.candidates if each.tensor.convolution is None]
    long, short = [each for each in free if _is_uneven(each)], [each for each in free if _is_short(each)]
    if not long and not short:
        return set()
    odd = {each.name for each in (*long, *short)}
    usual = [each for each in state_dict.candidates if each.name not in odd]
    given = {each.first for each in usual} | {each.second for each in usual if each.bias not in {None, each.first}}
    found = _not_read(long, usual, given, state_dict)
    axes = Counter(len(each.kernel) for each in usual)
    if sum(count for sides, count in axes.items() if sides > 1) < 2 * len(short):
        return found  # a network of 1-D layers
    given.update(side for _, *sides in state_dict.matrices for side in sides)
    return found | {each.name for each in short if not _is_read(each, given, state_dict)}


def _not_read(
    long: Sequence[Candidate], usual: Sequence[Candidate], given: set[int], state_dict: StateDict
) -> set[str]:
    """The uneven kernels that neither have a vector, nor read what a layer with as many axes gives, nor the input.

    given: numbers of channels that layers give; those of kernels that are confirmed are added.
    """
    axes = Counter(len(each.kernel) for each in usual)
    rank = axes.most_common(1)[0][0] if axes else 0
    is_input_read = any(each.second <= _COLOURS for each in usual)
    left = list(long)
    while True:
        confirmed = [
            each
            for each in left
            if _has_vector(each, state_dict)
            or (len(each.kernel) == rank and each.second in given)
            or (each.second <= _COLOURS and not is_input_read and irregular(each.kernel) < _FAR)
        ]
        if not confirmed:
            return {each.name for each in left}
        given.update(each.first for each in confirmed)
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


def _is_read(candidate: Candidate, given: set[int], state_dict: StateDict) -> bool:
    """Whether a 1-D kernel reads what other layers give, one or two together, or few numbers into a norm."""
    reads = candidate.second
    if candidate.bias is not None and candidate.bias != candidate.first:
        return True  # a transposed one, which nothing else looks like
    if reads in given or (reads > _FEW and any(reads - number in given for number in given)):
        return True
    return reads <= _COLOURS and _has_vector(candidate, state_dict)
