"""Of which kind a convolution is, and how many groups it has, from how the channels of a state dict chain.

A network has a layer that reads its input; every other reads what some layer gives. (C, 1, *kernel) is depthwise
unless it is the only layer that can read the input; (in, out, *kernel) is transposed where its bias, the layers around
it or an even kernel say so; fewer inputs than any layer gives make groups. What is left open is marked as assumed.
"""

from __future__ import annotations

from dataclasses import replace

from filterzoo.layers.selection import names
from filterzoo.layers.selection.candidates import Candidate
from filterzoo.layers.selection.network import Network, is_beside
from filterzoo.layers.selection.transposed import Verdict, is_open, transposed
from filterzoo.records import Context, Convolution, Evidence, Kind, Layout, Tensor


def described(candidate: Candidate, network: Network) -> Tensor:
    """The tensor with its operation, as far as the file tells it."""
    tensor = _described(candidate, network)
    network.note(candidate, tensor)
    return tensor


def _described(candidate: Candidate, network: Network) -> Tensor:
    tensor = candidate.tensor
    match tensor.layout:
        case Layout.K_IM:
            return _declared(tensor, (Kind.DEPTHWISE, tensor.shape[-2], tensor.evidence or Evidence.FORMAT))
        case Layout.ONE_K_O:
            return _declared(tensor, (Kind.DEPTHWISE, None, tensor.evidence or Evidence.FORMAT))
        case Layout.K_OI | Layout.IO_K:
            return _declared(tensor, (Kind.TRANSPOSED, None, tensor.evidence or Evidence.FORMAT))
    if candidate.second == 1 and candidate.first > 1:
        told = _one_input(candidate, network)
        if told is not None:
            return _declared(tensor, (*told[:2], Evidence.ASSUMED) if network.is_odd(candidate) else told)
    found = transposed(candidate, network)
    if found is not None:
        return _declared(replace(tensor, layout=found[1]), found[0])
    return _declared(tensor, _dense(candidate, network))


def _declared(tensor: Tensor, verdict: Verdict) -> Tensor:
    kind, groups, evidence = verdict
    weaker = max((tensor.evidence or Evidence.FORMAT, evidence), key=_STRENGTH.index)
    return replace(tensor, convolution=Convolution(kind=kind, context=Context.DECLARED, groups=groups), evidence=weaker)


_STRENGTH = list(Evidence)
"""The best evidence first."""


def _one_input(candidate: Candidate, network: Network) -> Verdict | None:
    """(C, 1, *kernel): depthwise, or None for a convolution that reads one channel."""
    channels = candidate.first
    if candidate.name in network.stems or candidate.bias not in {None, channels}:
        return None
    before = network.before[candidate.name]
    is_behind = before is not None and before.first == channels and is_beside(before.name, candidate.name)
    is_behind = is_behind and before is not None and network.groups.get(before.name) is not None
    groups = channels if is_behind and not network.is_sorted else None
    is_called = names.says_depthwise(candidate.name)
    if before is None and not network.is_sorted and not is_called:
        return None  # nothing before it gives the channels that a depthwise layer would read
    if candidate.is_pointwise and not is_called:
        evidence = Evidence.SHAPES if network.has_reader or not network.is_sorted else Evidence.ASSUMED
        return (Kind.DEPTHWISE, groups, evidence) if network.has_wide_twin(candidate) else None
    is_inside = network.is_read_inside(candidate)
    if not is_called and names.says_transposed(candidate.name):
        return Kind.DEPTHWISE, groups, Evidence.ASSUMED  # the filters of a depthwise transposed layer are the same
    if candidate.is_even and candidate.bias is None and not is_inside and not is_called:
        is_last_up = before is not None and before.name in network.swapped and network.gives[before.name] == channels
        return None if is_last_up else (Kind.DEPTHWISE, groups, Evidence.ASSUMED)
    if network.outputs[1] == 0 and (not network.stems or is_inside):
        return Kind.DEPTHWISE, groups, Evidence.SHAPES
    if is_inside and network.outputs[channels] > 1:
        return Kind.DEPTHWISE, groups, Evidence.SHAPES
    if is_called:
        return Kind.DEPTHWISE, groups, Evidence.NAME
    if network.stems or (before is not None and before.first == 1):
        return None
    return (Kind.DEPTHWISE, groups, Evidence.ASSUMED) if network.outputs[channels] > 1 else None


def _dense(candidate: Candidate, network: Network) -> Verdict:
    first, second = candidate.first, candidate.second
    evidence = candidate.tensor.evidence or Evidence.FORMAT
    before = network.before[candidate.name]
    if second == 1 and first > 1:
        is_doubtful = candidate.name in network.doubtful or (before is None and network.has_reader)
        return Kind.CONV, 1, Evidence.ASSUMED if is_doubtful else Evidence.SHAPES
    if is_open(candidate, network):
        evidence = Evidence.ASSUMED
    if before is None and not network.is_sorted:
        return Kind.CONV, 1, evidence
    if _must_be_grouped(candidate, network):
        return Kind.GROUPED, None, Evidence.SHAPES
    follows = before is not None and second == before.first and not network.is_sorted
    splits = before is not None and before.first > second and before.first % second == 0
    one = follows or (candidate.is_pointwise and network.outputs[second] > 0 and not splits)
    return Kind.CONV, 1 if one or first == 1 else None, evidence


def _must_be_grouped(candidate: Candidate, network: Network) -> bool:
    """Fewer inputs than any layer gives, and many layers like it: only groups read so few."""
    inputs = candidate.second
    if candidate.first % inputs or inputs == candidate.first or candidate.is_pointwise:
        return False
    least = min((number for number in network.outputs if number > 1), default=0)
    return inputs < least and network.inputs[inputs] > 2
