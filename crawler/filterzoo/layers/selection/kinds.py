"""The kind of a convolution and its number of groups, from how channels connect in a state dict.

One layer reads the network's input; every other reads the output of a layer. (C, 1, *kernel) is depthwise unless it is
the only layer that can read the input. (in, out, *kernel) is transposed if its bias, its neighbours or an even kernel
show it. A layer with fewer inputs than any layer has outputs is grouped. Whatever remains ambiguous is marked as
assumed.
"""

from __future__ import annotations

from dataclasses import replace

from filterzoo.layers.selection import names
from filterzoo.layers.selection.candidates import Candidate
from filterzoo.layers.selection.state_dict import StateDict, is_beside
from filterzoo.layers.selection.transposed import Verdict, is_open, transposed
from filterzoo.records import Context, Convolution, Evidence, Kind, Layout, Tensor


def described(candidate: Candidate, state_dict: StateDict) -> Tensor:
    """The tensor with its operation, as far as the file determines it."""
    tensor = _described(candidate, state_dict)
    state_dict.note(candidate, tensor)
    return tensor


def _described(candidate: Candidate, state_dict: StateDict) -> Tensor:
    tensor = candidate.tensor
    match tensor.layout:
        case Layout.K_IM:
            return _declared(tensor, (Kind.DEPTHWISE, tensor.shape[-2], tensor.evidence or Evidence.FORMAT))
        case Layout.ONE_K_O:
            return _declared(tensor, (Kind.DEPTHWISE, None, tensor.evidence or Evidence.FORMAT))
        case Layout.K_OI | Layout.IO_K:
            return _declared(tensor, (Kind.TRANSPOSED, None, tensor.evidence or Evidence.FORMAT))
    if candidate.second == 1 and candidate.first > 1:
        is_between = state_dict.is_between_matrices(candidate)
        verdict = (Kind.DEPTHWISE, None, Evidence.SHAPES) if is_between else _one_input(candidate, state_dict)
        if verdict is not None:
            kind, groups, evidence = verdict
            return _declared(tensor, (kind, groups, Evidence.ASSUMED if state_dict.is_odd(candidate) else evidence))
    found = transposed(candidate, state_dict)
    if found is not None:
        return _declared(replace(tensor, layout=found[1]), found[0])
    return _declared(tensor, _dense(candidate, state_dict))


def _declared(tensor: Tensor, verdict: Verdict) -> Tensor:
    kind, groups, evidence = verdict
    weaker = max((tensor.evidence or Evidence.FORMAT, evidence), key=_STRENGTH.index)
    return replace(tensor, convolution=Convolution(kind=kind, context=Context.DECLARED, groups=groups), evidence=weaker)


_STRENGTH = list(Evidence)
"""Evidence in order, the strongest first."""


def _one_input(candidate: Candidate, state_dict: StateDict) -> Verdict | None:
    """(C, 1, *kernel): depthwise, or None for a convolution that reads one channel."""
    channels = candidate.first
    if candidate.name in state_dict.stems or candidate.bias not in {None, channels}:
        return None
    previous = state_dict.previous[candidate.name]
    follows_previous = previous is not None and previous.first == channels and is_beside(previous.name, candidate.name)
    follows_previous = follows_previous and previous is not None and state_dict.groups.get(previous.name) is not None
    groups = channels if follows_previous and not state_dict.is_sorted else None
    is_called = names.says_depthwise(candidate.name)
    if previous is None and not state_dict.is_sorted and not is_called:
        return None  # no earlier layer has the outputs that a depthwise layer would read
    if candidate.is_pointwise and not is_called:
        evidence = Evidence.SHAPES if state_dict.has_reader or not state_dict.is_sorted else Evidence.ASSUMED
        return (Kind.DEPTHWISE, groups, evidence) if state_dict.has_wide_twin(candidate) else None
    is_inside = state_dict.is_read_inside(candidate)
    if not is_called and names.says_transposed(candidate.name):
        return Kind.DEPTHWISE, groups, Evidence.ASSUMED  # the filters of a depthwise transposed layer are the same
    if candidate.is_even and candidate.bias is None and not is_inside and not is_called:
        is_last_up = (
            previous is not None
            and previous.name in state_dict.swapped
            and state_dict.output_channels[previous.name] == channels
        )
        return None if is_last_up else (Kind.DEPTHWISE, groups, Evidence.ASSUMED)
    if state_dict.outputs[1] == 0 and (not state_dict.stems or is_inside):
        return Kind.DEPTHWISE, groups, Evidence.SHAPES
    if is_inside and state_dict.outputs[channels] > 1:
        return Kind.DEPTHWISE, groups, Evidence.SHAPES
    if is_called:
        return Kind.DEPTHWISE, groups, Evidence.NAME
    if state_dict.stems or (previous is not None and previous.first == 1):
        return None
    return (Kind.DEPTHWISE, groups, Evidence.ASSUMED) if state_dict.outputs[channels] > 1 else None


def _dense(candidate: Candidate, state_dict: StateDict) -> Verdict:
    first, second = candidate.first, candidate.second
    evidence = candidate.tensor.evidence or Evidence.FORMAT
    previous = state_dict.previous[candidate.name]
    if second == 1 and first > 1:
        is_doubtful = candidate.name in state_dict.doubtful or (previous is None and state_dict.has_reader)
        return Kind.CONV, 1, Evidence.ASSUMED if is_doubtful else Evidence.SHAPES
    if is_open(candidate, state_dict):
        evidence = Evidence.ASSUMED
    if previous is None and not state_dict.is_sorted:
        return Kind.CONV, 1, evidence
    if _must_be_grouped(candidate, state_dict):
        return Kind.GROUPED, None, Evidence.SHAPES
    follows = previous is not None and second == previous.first and not state_dict.is_sorted
    splits = previous is not None and previous.first > second and previous.first % second == 0
    one = follows or (candidate.is_pointwise and state_dict.outputs[second] > 0 and not splits)
    return Kind.CONV, 1 if one or first == 1 else None, evidence


def _must_be_grouped(candidate: Candidate, state_dict: StateDict) -> bool:
    """Fewer inputs than the outputs of any layer, and many such layers: they must be grouped."""
    inputs = candidate.second
    if candidate.first % inputs or inputs == candidate.first or candidate.is_pointwise:
        return False
    least = min((number for number in state_dict.outputs if number > 1), default=0)
    return inputs < least and state_dict.inputs[inputs] > 2
