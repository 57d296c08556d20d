"""Weights shaped unlike a network's other layers: taken where their channels connect to others, `undecided` if not.

Stacked attention kernels, capsules, spectral weights and layers that share nothing over positions look like kernels of
very unequal sides; norms over (C, H, W) without a bias and bilinear layers like 1-D kernels among 2-D ones.
"""

from __future__ import annotations

from collections import Counter

from filterzoo.layers.selection.candidates import Candidate
from filterzoo.layers.selection.layouts import irregular
from filterzoo.layers.selection.state_dict import StateDict

_ODD = 1.0
"""The least penalty of a kernel whose sides are unequal: 4 by 7 has 1.06."""
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
    axes = Counter(len(each.kernel) for each in usual)
    rank = axes.most_common(1)[0][0] if axes else 0
    given = {each.first for each in usual} | {each.second for each in usual if each.bias not in {None, each.first}}
    found = {
        each.name
        for each in long
        if not _has_vector(each, state_dict) and not (len(each.kernel) == rank and each.second in given)
    }
    if sum(count for sides, count in axes.items() if sides > 1) < 2 * len(short):
        return found  # a network of 1-D layers
    given.update(side for _, *sides in state_dict.matrices for side in sides)
    return found | {each.name for each in short if not _is_read(each, given, state_dict)}


def _is_uneven(candidate: Candidate) -> bool:
    """Whether its kernel has two or more different sides above 1, one of them much longer."""
    return len(set(candidate.kernel) - {1}) > 1 and irregular(candidate.kernel) >= _ODD


def _is_short(candidate: Candidate) -> bool:
    return len(candidate.kernel) == 1 and candidate.kernel[0] > 1 and candidate.second > 1


def _has_vector(candidate: Candidate, state_dict: StateDict) -> bool:
    """Whether its bias, or the norm behind it, is as long as its outputs."""
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
