"""Of which kind a convolution is, and how many groups it has, from how the channels of a state dict chain.

A network has a layer that reads its input; every other reads what some layer gives. (C, 1, *kernel) is depthwise
unless it is the only layer that can read the input; (in, out, *kernel) is transposed where its bias, the layers around
it or an even kernel say so; fewer inputs than any layer gives make groups. What is left open is marked as assumed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from filterzoo.layers.selection import names
from filterzoo.layers.selection.candidates import Candidate
from filterzoo.records import Context, Convolution, Evidence, Kind, Layout, Tensor

Verdict = tuple[Kind, int | None, Evidence]

_SWAPPED = {Layout.OI_K: Layout.IO_K, Layout.K_IO: Layout.K_OI}
"""The layout of a transposed convolution in a file of that order; others do not swap the channels."""


@dataclass(slots=True)
class Network:
    """What all candidates of a state dict tell together."""

    candidates: Sequence[Candidate]
    vectors: Sequence[tuple[int, int]]
    """(place in the file, length) of its rank-1 tensors that are no bias of a candidate, in order."""
    places: dict[str, int]
    """Where each tensor stands in the file."""
    matrices: Sequence[tuple[str, int]]
    """Its linear layers: name and what they read."""
    outputs: Counter[int] = field(default_factory=Counter)
    inputs: Counter[int] = field(default_factory=Counter)
    stems: frozenset[str] = frozenset()
    """Names of the (C, 1, *kernel) that read the input."""
    before: dict[str, Candidate | None] = field(default_factory=dict)
    next_place: dict[str, int] = field(default_factory=dict)
    """Where the candidate behind each stands."""
    behind: dict[str, Candidate | None] = field(default_factory=dict)
    """The next candidate of other channels: those of the same may lie side by side."""
    groups: dict[str, int | None] = field(default_factory=dict)
    """Of the convolutions that are described already."""
    doubtful: frozenset[str] = frozenset()
    """Those of the stems of which nothing but their names shows that they are no depthwise layers."""
    is_sorted: bool = False
    """Whether the file has its tensors in the order of their names."""
    _read_in: dict[str, set[int]] = field(default_factory=dict)
    """Module -> what the pointwise and linear layers in it, or one below, read."""
    _wide_in: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    """(module, channels) -> names of the (channels, 1, *kernel) of more than one number in it, or one below."""

    def __post_init__(self) -> None:
        last: Candidate | None = None
        for each in self.candidates:
            self.before[each.name] = last
            last = each
            self.outputs[each.bias if each.bias is not None and each.bias % each.second == 0 else each.first] += 1
            if each.second > 1:
                self.inputs[each.second] += 1
            if each.is_pointwise:
                self._add_reader(each.name, each.second)
            elif each.second == 1 and each.first > 1:
                for module in (*_around(each.name), _third(each.name)):
                    self._wide_in.setdefault((module, each.first), set()).add(each.name)
        for name, inputs in self.matrices:
            self._add_reader(name, inputs)
        behind: Candidate | None = None
        after: Candidate | None = None
        for each in reversed(self.candidates):
            if after is not None:
                self.next_place[each.name] = self.places[after.name]
            if after is not None and (after.first, after.second) != (each.first, each.second):
                behind = after
            self.behind[each.name] = behind
            after = each
        listed = list(self.places)
        self.is_sorted = len(listed) > 2 and listed == sorted(listed)
        self.stems, self.doubtful = _stems(self)

    def _add_reader(self, name: str, inputs: int) -> None:
        for module in _around(name):
            self._read_in.setdefault(module, set()).add(inputs)

    def is_read_inside(self, candidate: Candidate) -> bool:
        """Whether a pointwise or linear layer near it reads as many channels as it has."""
        behind = self.behind.get(candidate.name)
        if behind is not None and behind.is_pointwise and behind.second == candidate.first:
            return True
        return any(candidate.first in self._read_in.get(module, ()) for module in _around(candidate.name))

    def has_wide_twin(self, candidate: Candidate, but: Collection[str] = ()) -> bool:
        """Whether near (C, 1, 1, 1) lies a (C, 1, *kernel) that is not one of the stems: a scaling beside it."""
        stems = set(but) | self.stems
        return any(self._wide_in.get((module, candidate.first), set()) - stems for module in _around(candidate.name))

    def next_vector(self, candidate: Candidate) -> int | None:
        """The length of the first vector between a weight and the next one, such as that of its batch norm."""
        at = bisect_right(self.vectors, (self.places[candidate.name], 1 << 62))
        next_one = self.next_place.get(candidate.name, 1 << 62)
        return self.vectors[at][1] if at < len(self.vectors) and self.vectors[at][0] < next_one else None


def described(candidate: Candidate, network: Network) -> Tensor:
    """The tensor with its operation, as far as the file tells it."""
    tensor = _described(candidate, network)
    network.groups[candidate.name] = tensor.convolution.groups if tensor.convolution else None
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
            return _declared(tensor, told)
    if tensor.layout in _SWAPPED:
        swapped = _transposed(candidate, network)
        if swapped is not None:
            return _declared(replace(tensor, layout=_SWAPPED[tensor.layout]), swapped)
    return _declared(tensor, _dense(candidate, network))


def _declared(tensor: Tensor, verdict: Verdict) -> Tensor:
    kind, groups, evidence = verdict
    weaker = max((tensor.evidence or Evidence.FORMAT, evidence), key=_STRENGTH.index)
    return replace(tensor, convolution=Convolution(kind=kind, context=Context.DECLARED, groups=groups), evidence=weaker)


_STRENGTH = list(Evidence)
"""The best evidence first."""


def _one_input(candidate: Candidate, network: Network) -> Verdict | None:
    """(C, 1, *kernel): depthwise, or None for a convolution that reads one channel."""
    if candidate.name in network.stems:
        return None
    channels = candidate.first
    before = network.before[candidate.name]
    is_behind = before is not None and before.first == channels and _is_beside(before.name, candidate.name)
    is_behind = is_behind and before is not None and network.groups.get(before.name) is not None
    groups = channels if is_behind and not network.is_sorted else None
    is_called = names.says_depthwise(candidate.name)
    if candidate.is_pointwise and not is_called:
        return (Kind.DEPTHWISE, groups, Evidence.SHAPES) if network.has_wide_twin(candidate) else None
    is_inside = network.is_read_inside(candidate)
    if network.outputs[1] == 0 and (not network.stems or is_inside):
        return Kind.DEPTHWISE, groups, Evidence.SHAPES
    if is_inside and network.outputs[channels] > 1:
        return Kind.DEPTHWISE, groups, Evidence.SHAPES
    if is_called:
        return Kind.DEPTHWISE, groups, Evidence.NAME
    if network.stems or (before is not None and before.first == 1):
        return None
    return (Kind.DEPTHWISE, groups, Evidence.ASSUMED) if network.outputs[channels] > 1 else None


def _is_beside(name: str, other: str) -> bool:
    """Whether two weights lie in one module, or in two of one list: there the order of the file is that of the run."""
    pairs = list(zip(_around(name), _around(other), strict=False))
    return any(first == second for first, second in pairs)


def _around(name: str) -> tuple[str, ...]:
    """The two modules around the module that a weight belongs to, the inner one first."""
    parts = names.parts(names.owner(name).rstrip("./"))
    return tuple(".".join(parts[:-up]) for up in (1, 2) if up == 1 or len(parts) > up)


def _third(name: str) -> str:
    """The module around those: of branches that lie side by side in lists, the common one."""
    return ".".join(names.parts(names.owner(name).rstrip("./"))[:-3])


def _stems(network: Network) -> tuple[frozenset[str], frozenset[str]]:
    """Which (C, 1, *kernel) must read the input: those without which no layer would; and which of them may not."""
    ones = [each for each in network.candidates if each.second == 1 and each.first > 1]
    if not ones or _has_reader(network):
        return frozenset(), frozenset()
    wide = [each for each in ones if not each.is_pointwise]
    if len(wide) > 1:
        outside = [each for each in wide if not network.is_read_inside(each) and not names.says_depthwise(each.name)]
        repeats = Counter(names.pattern(each.name) for each in outside or wide)
        least = min(repeats.values())
        wide = [each for each in outside or wide if repeats[names.pattern(each.name)] == least]
        wide = wide if len(outside) == len(wide) and least == 1 else _first(wide)
    stems = {each.name for each in wide}
    spans = {(each.tensor.span, each.tensor.stored_in) for each in wide if each.tensor.span.length}
    tied = {each.name for each in ones if (each.tensor.span, each.tensor.stored_in) in spans}
    alone = {each.name for each in ones if each.is_pointwise and not network.has_wide_twin(each, but=stems)}
    doubtful = stems - {each.name for each in ones[:1]} - tied
    return frozenset(stems | tied | {name for name in alone if not names.says_depthwise(name)}), frozenset(doubtful)


def _first(ones: Sequence[Candidate]) -> list[Candidate]:
    return sorted(ones, key=lambda each: names.says_depthwise(each.name))[:1]


def _has_reader(network: Network) -> bool:
    """Whether a layer reads what no layer gives: as few channels as an image has, or some that none add up to."""
    dense = [each for each in network.candidates if each.second > 1]
    alike = Counter((each.second, each.is_pointwise) for each in dense)
    given = {each.first for each in network.candidates} | {each.bias for each in network.candidates if each.bias}
    given |= {each.second for each in dense if each.bias is not None and each.bias != each.first}
    for each in dense:
        inputs = each.second
        is_swapped = each.bias is not None and each.bias != each.first
        if is_swapped or inputs > _MOST_INPUTS or each.first < inputs or alike[inputs, each.is_pointwise] > _MOST_STEMS:
            continue
        if inputs <= _COLOURS and not each.is_pointwise:
            return True
        if inputs not in given and not any(inputs - number in given for number in given):
            return True
    return False


_COLOURS = 4
_MOST_INPUTS = 16
_MOST_STEMS = 2
"""More layers than that read the input seldom; so many alike have groups."""


def _transposed(candidate: Candidate, network: Network) -> Verdict | None:
    """(in, out/groups, *kernel), or None for any other."""
    first, second, bias = candidate.first, candidate.second, candidate.bias
    if bias is not None and bias != first:
        groups, rest = divmod(bias, second)
        is_one = rest == 0 and groups > 0 and first % groups == 0
        return (Kind.TRANSPOSED, groups, Evidence.SHAPES) if is_one else None
    if candidate.is_pointwise or (bias is not None and first != second):
        return None
    called = names.says_transposed(candidate.name)
    is_even = all(side % 2 == 0 for side in candidate.kernel if side > 1) and not candidate.is_pointwise
    if first == second:
        return (Kind.TRANSPOSED, 1, Evidence.NAME) if called and (is_even or _is_surely(candidate)) else None
    score = _swap_score(candidate, network) + is_even
    if score > 1 or (score == 1 and called):
        return Kind.TRANSPOSED, 1, Evidence.SHAPES if score > 1 else Evidence.NAME
    return (Kind.TRANSPOSED, 1, Evidence.NAME) if _is_surely(candidate) and score >= 0 else None


def _is_surely(candidate: Candidate) -> bool:
    """Called a transposed convolution, and not only something on the way up."""
    owner = names.owner(candidate.name).lower()
    return "transp" in owner or "deconv" in owner


def _swap_score(candidate: Candidate, network: Network) -> int:
    """Above 0: the layers around it fit a transposed convolution; below: an ordinary one."""
    first, second = candidate.first, candidate.second
    score = 0
    behind = network.next_vector(candidate)
    if behind in {first, second} and not network.is_sorted:
        score += 1 if behind == second else -1
    before = network.before[candidate.name]
    if before is not None and not network.is_sorted:
        given = before.bias if before.bias is not None else before.first
        score += (given == first) - (given == second)
    return score


def _dense(candidate: Candidate, network: Network) -> Verdict:
    first, second = candidate.first, candidate.second
    evidence = candidate.tensor.evidence or Evidence.FORMAT
    before = network.before[candidate.name]
    if second == 1 and first > 1:
        return Kind.CONV, 1, Evidence.ASSUMED if candidate.name in network.doubtful else Evidence.SHAPES
    is_first = before is None
    if is_first and not network.is_sorted:
        return Kind.CONV, 1, evidence
    if _must_be_grouped(candidate, network):
        return Kind.GROUPED, None, Evidence.SHAPES
    follows = before is not None and second == before.first and not network.is_sorted
    splits = before is not None and before.first > second and before.first % second == 0
    one = follows or (candidate.is_pointwise and network.outputs[second] > 0 and not splits)
    if first == second and candidate.bias in {None, first} and candidate.kernel and _is_open_square(candidate):
        evidence = Evidence.ASSUMED
    return Kind.CONV, 1 if one or first == 1 else None, evidence


def _is_open_square(candidate: Candidate) -> bool:
    """As many outputs as inputs and a kernel of even length, as transposed convolutions have: which, nothing tells."""
    return not candidate.is_pointwise and all(side % 2 == 0 for side in candidate.kernel if side > 1)


def _must_be_grouped(candidate: Candidate, network: Network) -> bool:
    """Fewer inputs than any layer gives, and many layers like it: only groups read so few."""
    inputs = candidate.second
    if candidate.first % inputs or inputs == candidate.first or candidate.is_pointwise:
        return False
    least = min((number for number in network.outputs if number > 1), default=0)
    return inputs < least and network.inputs[inputs] > 2
