"""Which weights are transposed convolutions, and their number of groups.

A bias as long as the second channel axis proves it. Without a bias there are three kinds of evidence: the next vector
in the file (from its norm layer), the outputs of the preceding layer, and an even kernel. A preceding layer with the
same channels is no evidence, because such layers are parallel as often as consecutive. Without evidence the kind is
assumed.
"""

from __future__ import annotations

from filterzoo.layers.selection import names, orders
from filterzoo.layers.selection.candidates import Candidate
from filterzoo.layers.selection.state_dict import StateDict
from filterzoo.records import Evidence, Kind, Layout

Verdict = tuple[Kind, int | None, Evidence]

_COLOURS = 4
_SHORT = 8
"""Transposed convolutions rarely have a longer kernel; patch embeddings often do."""


def transposed(candidate: Candidate, state_dict: StateDict) -> tuple[Verdict, Layout] | None:
    """Verdict and layout of a transposed convolution's weight; None for any other."""
    layout = candidate.tensor.layout
    if orders.has_one(candidate.tensor, state_dict.framework):
        return _in_one_order(candidate)
    if layout not in orders.SWAPPED:
        return None
    verdict = _swapped(candidate, state_dict)
    if verdict is not None:
        if verdict[2] is Evidence.NAME and not orders.is_swapped(candidate.tensor, state_dict.framework):
            verdict = (*verdict[:2], Evidence.ASSUMED)
        return verdict, orders.SWAPPED[layout]
    if candidate.bias == candidate.first and not orders.is_swapped(candidate.tensor, state_dict.framework):
        return _in_one_order(candidate)
    return None


def _in_one_order(candidate: Candidate) -> tuple[Verdict, Layout] | None:
    """The order of ordinary kernels, unless a bias shows that Flax's `transpose_kernel` was set."""
    layout = candidate.tensor.layout
    if layout is Layout.K_IO and candidate.bias == candidate.second != candidate.first:
        return (Kind.TRANSPOSED, 1, Evidence.SHAPES), orders.SWAPPED[layout]
    if names.says_transposed(candidate.name) and (candidate.is_even or _is_surely(candidate)):
        return None if candidate.is_pointwise else ((Kind.TRANSPOSED, 1, Evidence.NAME), layout)
    return None


def _swapped(candidate: Candidate, state_dict: StateDict) -> Verdict | None:
    """Whether the channel axes are (in, out/groups)."""
    first, second, bias = candidate.first, candidate.second, candidate.bias
    if bias is not None and bias != first:
        groups, rest = divmod(bias, second)
        is_one = rest == 0 and groups > 0 and first % groups == 0
        return (Kind.TRANSPOSED, groups, Evidence.SHAPES) if is_one else None
    if candidate.is_pointwise or (bias is not None and first != second):
        return None
    called = names.says_transposed(candidate.name)
    even = candidate.is_even
    if first == second:
        return (Kind.TRANSPOSED, 1, Evidence.NAME) if called and (even or _is_surely(candidate)) else None
    score = _surroundings(candidate, state_dict) + even
    if score > 1 or (score == 1 and called):
        return Kind.TRANSPOSED, 1, Evidence.SHAPES if score > 1 else Evidence.NAME
    return (Kind.TRANSPOSED, 1, Evidence.NAME) if _is_surely(candidate) and score >= 0 else None


def is_open(candidate: Candidate, state_dict: StateDict) -> bool:
    """Whether a weight may be transposed although neither its shapes nor its name show it."""
    first, second, bias = candidate.first, candidate.second, candidate.bias
    if not candidate.is_even:
        return _continues_transposed(candidate, state_dict)
    if orders.has_one(candidate.tensor, state_dict.framework):
        return second > _COLOURS
    if bias is not None:
        return first == second
    is_input = second <= _COLOURS and (state_dict.previous[candidate.name] is None or max(candidate.kernel) > _SHORT)
    return first == second or (_surroundings(candidate, state_dict) == 0 and not is_input)


def _continues_transposed(candidate: Candidate, state_dict: StateDict) -> bool:
    """Whether a square odd kernel reads the outputs of a certainly transposed layer with the same kernel.

    A decoder may end with a transposed layer that keeps its channels, or with an ordinary one.
    """
    if candidate.first != candidate.second or candidate.is_pointwise or candidate.tensor.layout not in orders.SWAPPED:
        return False
    if state_dict.is_sorted:
        return (candidate.kernel, candidate.first) in state_dict.transposed_by_bias
    previous = state_dict.previous[candidate.name]
    if previous is None or previous.name not in state_dict.swapped or previous.kernel != candidate.kernel:
        return False
    return state_dict.output_channels[previous.name] == candidate.first


def _is_surely(candidate: Candidate) -> bool:
    """Whether the name says transposed convolution, not merely upsampling."""
    owner = names.owner(candidate.name).lower()
    return "transp" in owner or "deconv" in owner


def _surroundings(candidate: Candidate, state_dict: StateDict) -> int:
    """A score: above 0 if the neighbouring layers fit a transposed convolution, below 0 for an ordinary one."""
    if state_dict.is_sorted:
        return 0
    first, second = candidate.first, candidate.second
    next_length = state_dict.next_vector(candidate)
    score = (next_length == second) - (next_length == first)
    previous = state_dict.previous[candidate.name]
    if previous is None or (previous.first, previous.second) == (first, second):
        return score
    given = state_dict.output_channels.get(previous.name)
    if previous.name in state_dict.swapped and given == first < second:
        return score - 1  # its output and the skip connection are concatenated
    return score + (given == first) - (given == second)
