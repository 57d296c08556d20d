"""All candidates of a state dict: the input and output channels of each, and which of them read the network's input."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from filterzoo.layers.selection import names
from filterzoo.layers.selection.candidates import Candidate
from filterzoo.layers.shapes import canonical_shape
from filterzoo.records import Evidence, Layout, Span, StoredRange, Tensor


@dataclass(slots=True)
class StateDict:
    """The candidates of a state dict, and facts derived from all of them."""

    candidates: Sequence[Candidate]
    vectors: Sequence[tuple[int, int]]
    """(position in the file, length) of its rank-1 tensors that are not the bias of a candidate, in order."""
    places: dict[str, int]
    """The position of each tensor in the file."""
    matrices: Sequence[tuple[str, int, int]]
    """Its linear layers: name, number of outputs, number of inputs."""
    framework: str | None = None
    """The framework that wrote the file, if it is stated."""
    outputs: Counter[int] = field(default_factory=Counter)
    inputs: Counter[int] = field(default_factory=Counter)
    stems: frozenset[str] = frozenset()
    """Names of the (C, 1, *kernel) that read the input."""
    previous: dict[str, Candidate | None] = field(default_factory=dict)
    next_place: dict[str, int] = field(default_factory=dict)
    """The position of the next candidate."""
    next_different: dict[str, Candidate | None] = field(default_factory=dict)
    """The next candidate with other channels: candidates with the same ones may be parallel branches."""
    groups: dict[str, int | None] = field(default_factory=dict)
    """Number of groups of the convolutions that are already decided."""
    output_channels: dict[str, int | None] = field(default_factory=dict)
    """Output channels of the same convolutions, if known."""
    swapped: set[str] = field(default_factory=set)
    """Names of those that are certainly transposed, (in, out, *kernel)."""
    transposed_by_bias: set[tuple[tuple[int, ...], int]] = field(default_factory=set)
    """(kernel, outputs) of the layers that are transposed by their bias."""
    doubtful: frozenset[str] = frozenset()
    """The stems that only their names distinguish from depthwise layers."""
    has_reader: bool = False
    """Whether a layer with several inputs reads a number of channels that no layer outputs, like the first layer."""
    is_sorted: bool = False
    """Whether the tensors are sorted by name."""
    _axes: Counter[int] = field(default_factory=Counter)
    """Counts of kernel axes of the layers that have several inputs and are not pointwise."""
    _alike: Counter[str] = field(default_factory=Counter)
    """Names of the (C, 1, *kernel), with numbers removed."""
    _read_in: dict[str, set[int]] = field(default_factory=dict)
    """Module -> input channels of the pointwise and linear layers in it or in a direct submodule."""
    _matrices_in: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Module -> (outputs, inputs) of the linear layers directly in it."""
    _wide_in: dict[tuple[str, int], set[str]] = field(default_factory=dict)
    """(module, channels) -> names of the (channels, 1, *kernel), pointwise ones excluded, in it or in a direct
    submodule."""

    def __post_init__(self) -> None:
        last: Candidate | None = None
        for each in self.candidates:
            self.previous[each.name] = last
            last = each
            self.outputs[each.bias if each.bias is not None and each.bias % each.second == 0 else each.first] += 1
            self._count(each)
            if each.is_pointwise:
                self._add_reader(each.name, each.second)
            elif each.second == 1 and each.first > 1:
                for module in (*modules_around(each.name), _third(each.name)):
                    self._wide_in.setdefault((module, each.first), set()).add(each.name)
        for name, outputs, inputs in self.matrices:
            self._add_reader(name, inputs)
            self._matrices_in.setdefault(modules_around(name)[0], []).append((outputs, inputs))
        next_different: Candidate | None = None
        after: Candidate | None = None
        for each in reversed(self.candidates):
            if after is not None:
                self.next_place[each.name] = self.places[after.name]
            if after is not None and (after.first, after.second) != (each.first, each.second):
                next_different = after
            self.next_different[each.name] = next_different
            after = each
        listed = list(self.places)
        self.is_sorted = len(listed) > 2 and listed == sorted(listed)
        self.has_reader = _has_reader(self)
        self.stems, self.doubtful = _stems(self)

    def _count(self, each: Candidate) -> None:
        if each.bias is not None and each.bias != each.first and each.bias % each.second == 0:
            self.transposed_by_bias.add((each.kernel, each.bias))
        if each.second > 1:
            self.inputs[each.second] += 1
            self._axes[len(each.kernel)] += not each.is_pointwise
        elif each.first > 1:
            self._alike[names.pattern(each.name)] += 1

    def _add_reader(self, name: str, inputs: int) -> None:
        for module in modules_around(name):
            self._read_in.setdefault(module, set()).add(inputs)

    def note(self, candidate: Candidate, tensor: Tensor) -> None:
        """Record what was decided about a candidate."""
        groups = tensor.convolution.groups if tensor.convolution is not None else None
        self.groups[candidate.name] = groups
        is_known = tensor.convolution is not None and tensor.evidence is not Evidence.ASSUMED
        is_known &= groups is not None or tensor.layout not in {Layout.IO_K, Layout.K_OI}
        is_known |= candidate.first == candidate.second
        self.output_channels[candidate.name] = canonical_shape(tensor)[0] if is_known else None
        if is_known and tensor.layout in {Layout.IO_K, Layout.K_OI}:
            self.swapped.add(candidate.name)

    def is_read_inside(self, candidate: Candidate) -> bool:
        """Whether a pointwise or linear layer near it reads as many channels as it has."""
        next_different = self.next_different.get(candidate.name)
        if next_different is not None and next_different.is_pointwise and next_different.second == candidate.first:
            return True
        return any(candidate.first in self._read_in.get(module, ()) for module in modules_around(candidate.name))

    def is_between_matrices(self, candidate: Candidate) -> bool:
        """Whether linear layers in the same module output its channels (or these and a gate) and read them."""
        module, channels = modules_around(candidate.name)[0], candidate.first
        in_module = self._matrices_in.get(module, []) if module else []
        writers = [place for place, (outputs, _) in enumerate(in_module) if outputs in {channels, 2 * channels}]
        readers = [place for place, (_, reads) in enumerate(in_module) if reads == channels]
        return any(writer != reader for writer in writers for reader in readers)

    def has_wide_twin(self, candidate: Candidate, but: Collection[str] = ()) -> bool:
        """Whether a (C, 1, *kernel) other than a stem is near (C, 1, 1, 1), which then scales its output."""
        stems = set(but) | self.stems
        return any(
            self._wide_in.get((module, candidate.first), set()) - stems for module in modules_around(candidate.name)
        )

    def is_odd(self, candidate: Candidate) -> bool:
        """Whether (C, 1, *kernel) may read the input, although it fits a depthwise layer.

        Its kernel has another number of axes than the network's; or its name occurs once, and either no stem is certain
        or its kernel is unusual for a depthwise layer.
        """
        if self._axes and self._axes.most_common(1)[0][0] != len(candidate.kernel):
            return True
        is_alone = self._alike[names.pattern(candidate.name)] == 1 and not names.says_depthwise(candidate.name)
        return is_alone and (bool(self.doubtful) or candidate.is_even or candidate.is_pointwise)

    def next_vector(self, candidate: Candidate) -> int | None:
        """The length of the first vector between a weight and the next weight, such as that of its batch norm."""
        at = bisect_right(self.vectors, (self.places[candidate.name], 1 << 62))
        next_one = self.next_place.get(candidate.name, 1 << 62)
        return self.vectors[at][1] if at < len(self.vectors) and self.vectors[at][0] < next_one else None


def is_beside(name: str, other: str) -> bool:
    """Whether two weights are in one module or one list of modules, so that file order is execution order."""
    pairs = list(zip(modules_around(name), modules_around(other), strict=False))
    return any(first == second for first, second in pairs)


def modules_around(name: str) -> tuple[str, ...]:
    """The two closest ancestors of the module that a weight belongs to, the inner one first."""
    parts = names.parts(names.owner(name).rstrip("./"))
    return tuple(".".join(parts[:-up]) for up in (1, 2) if up == 1 or len(parts) > up)


def _third(name: str) -> str:
    """The next ancestor: the common parent of parallel branches in lists."""
    return ".".join(names.parts(names.owner(name).rstrip("./"))[:-3])


def _stems(state_dict: StateDict) -> tuple[frozenset[str], frozenset[str]]:
    """The (C, 1, *kernel) that read the input, because no other layer can; and the uncertain ones among them."""
    single_input = [
        each
        for each in state_dict.candidates
        if each.second == 1 and each.first > 1 and each.bias in {None, each.first}
        if not state_dict.is_between_matrices(each)
    ]
    if not single_input or state_dict.has_reader or _starts_transposed(state_dict):
        return frozenset(), frozenset()
    wide = [each for each in single_input if not each.is_pointwise]
    if len(wide) > 1:
        outside = [each for each in wide if not state_dict.is_read_inside(each) and not names.says_depthwise(each.name)]
        repeats = Counter(names.pattern(each.name) for each in outside or wide)
        fewest = min(repeats.values())
        wide = [each for each in outside or wide if repeats[names.pattern(each.name)] == fewest]
        wide = wide if len(outside) == len(wide) and fewest == 1 else _first(wide)
    stems = {each.name for each in wide}
    uses = Counter(_bytes_of(each) for each in single_input)
    spans = {_bytes_of(each) for each in wide if each.tensor.span.length and uses[_bytes_of(each)] > 1}
    tied = {each.name for each in single_input if _bytes_of(each) in spans}
    unpaired = {
        each.name for each in single_input if each.is_pointwise and not state_dict.has_wide_twin(each, but=stems)
    }
    certain = single_input[:1] if len(single_input) == 1 or not state_dict.is_sorted else []
    if len(state_dict.candidates) == 1 and state_dict.is_read_inside(single_input[0]):
        certain = []  # a depthwise layer after another kind of layer looks the same
    doubtful = stems - {each.name for each in certain} - tied
    return frozenset(stems | tied | {name for name in unpaired if not names.says_depthwise(name)}), frozenset(doubtful)


def _bytes_of(candidate: Candidate) -> tuple[Span, tuple[StoredRange, ...]]:
    return candidate.tensor.span, candidate.tensor.stored_in


def _first(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda each: names.says_depthwise(each.name))[:1]


def _has_reader(state_dict: StateDict) -> bool:
    """Whether a layer reads channels that no layer outputs: as few as an image has, or not a sum of outputs."""
    dense = [each for each in state_dict.candidates if each.second > 1]
    count = Counter((each.second, each.is_pointwise) for each in dense)
    output_channels = {each.first for each in state_dict.candidates} | {
        each.bias for each in state_dict.candidates if each.bias
    }
    output_channels |= {each.second for each in dense if each.bias is not None and each.bias != each.first}
    for each in dense:
        inputs = each.second
        is_swapped = each.bias is not None and each.bias != each.first
        if is_swapped or inputs > _MOST_INPUTS or each.first < inputs or count[inputs, each.is_pointwise] > _MOST_STEMS:
            continue
        if inputs <= _COLOURS and not each.is_pointwise:
            return True
        if inputs not in output_channels and not any(inputs - number in output_channels for number in output_channels):
            return True
    return False


def _starts_transposed(state_dict: StateDict) -> bool:
    """Whether the file starts with a transposed convolution whose inputs no layer outputs, as generators do."""
    first = state_dict.candidates[0]
    if state_dict.is_sorted or first.second == 1 or not first.is_even:
        return False
    others = {each.first for each in state_dict.candidates[1:]} | {each.second for each in state_dict.candidates}
    has_bias = first.bias is not None and first.bias != first.first
    return (has_bias or state_dict.next_vector(first) == first.second != first.first) and first.first not in others


_COLOURS = 4
_MOST_INPUTS = 16
_MOST_STEMS = 2
"""More layers than this rarely read the input: then they are grouped."""
