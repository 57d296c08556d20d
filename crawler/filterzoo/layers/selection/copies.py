"""Finds parts of a file that repeat another part: moments, gradients and averages of the weights, not layers.

A part is everything below a path. It mirrors another part if both hold weights of the same names and shapes. A part
that mirrors another without its buffers (running means, counters) consists of parameters only: it is a moment, a
gradient or an average. If neither has buffers, the name decides, provided that the file confirms it: there are two such
parts, or the whole network is mirrored. A branch of a network that merely has such a name is not a copy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from filterzoo.dtypes import DTYPES, NumberClass
from filterzoo.layers.selection import names
from filterzoo.records import Tensor

Path = tuple[str, ...]
Held = frozenset[tuple[str, tuple[int, ...]]]
"""(name below a path, shape) of each weight."""

_MOST_DEPTH = 6
"""Most levels below a section at which copies of the network are searched."""
_TWIN_SUFFIXES = ("_ema", "_avg")
_TWIN_PREFIXES = ("ema_", "avg_")
_MOST_BUFFERED = 16
"""Most parts with buffers, among equal ones (repeated blocks), that are compared with those that lack buffers."""
_MOST_BUFFERS = 3
"""Most buffers of a module with a counter: mean, variance and counter."""
_MOMENTS = frozenset({"m", "v"})
"""Names of Adam's two moments, if no other name says so."""


@dataclass(slots=True)
class _Part:
    """Everything below a path: all its tensors in file order, the names and shapes of its weights.

    counters: its modules with a counter (a single integer), which are those that have buffers.
    """

    path: Path
    tensors: list[tuple[str, Tensor]] = field(default_factory=list)
    weights: set[tuple[str, tuple[int, ...]]] = field(default_factory=set)
    counters: set[str] = field(default_factory=set)

    def add(self, name: str, tensor: Tensor) -> None:
        self.tensors.append((name, tensor))
        if len(tensor.shape) >= 3:
            self.weights.add((name, tensor.shape))
        elif not tensor.shape and DTYPES[tensor.dtype].number_class is NumberClass.INTEGER:
            self.counters.add(name.rpartition(".")[0])


def copies(tensors: Sequence[Tensor]) -> set[Path]:
    """The paths (section first) of the parts of a file that are copies of others."""
    parts = _parts(tensors)
    alike: dict[Held, list[_Part]] = {}
    for part in parts.values():
        if part.weights:
            alike.setdefault(frozenset(part.weights), []).append(part)
    whole = _Whole(parts, [path_of(tensor) for tensor in tensors if len(tensor.shape) >= 3])
    found: set[Path] = set()
    for weights, group in alike.items():  # outer parts come first
        outside = [part for part in group if not any(part.path[:depth] in found for depth in range(len(part.path)))]
        found.update(_copies_among([*outside, *_roots(parts, weights, outside)], whole))
    found.update(_unnamed(parts))
    return found


def lies_in(tensor: Tensor, paths: set[Path]) -> bool:
    """Whether a tensor is below one of the paths."""
    path = path_of(tensor)
    return any(path[:depth] in paths for depth in range(1, min(len(path), _MOST_DEPTH + 1) + 1))


def path_of(tensor: Tensor) -> Path:
    """Section and name of a tensor as one path."""
    return (tensor.section, *names.parts(tensor.name))


@dataclass(slots=True)
class _Whole:
    """All parts of a file, and the paths of its weights."""

    parts: Mapping[Path, _Part]
    weights: Sequence[Path]
    of_optimisers: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.of_optimisers = [path for path in self.weights if any(map(names.is_optimiser, path[:-1]))]

    def consists_of(self, group: Sequence[_Part]) -> bool:
        """Whether every weight of the file is in one of the parts, or in an optimiser's."""
        left = len(self.weights) - sum(len(part.weights) for part in group)
        if left > len(self.of_optimisers):
            return False
        inside = {part.path for part in group}
        others = sum(not any(path[:depth] in inside for depth in range(len(path))) for path in self.of_optimisers)
        return left <= others


def _parts(tensors: Sequence[Tensor]) -> dict[Path, _Part]:
    parts: dict[Path, _Part] = {}
    for tensor in tensors:
        path = path_of(tensor)
        for depth in range(1, min(len(path), _MOST_DEPTH + 2)):
            if path[:depth] not in parts:
                parts[path[:depth]] = _Part(path[:depth])
            parts[path[:depth]].add(".".join(path[depth:]), tensor)
    return parts


def _roots(parts: Mapping[Path, _Part], weights: Held, group: Sequence[_Part]) -> Iterator[_Part]:
    """The section that contains the parts, without them, if it holds the same weights at its top level."""
    for section in {part.path[:1] for part in group if len(part.path) > 1}:
        inside = {part.path for part in group if part.path[:1] == section}
        if len(parts[section].weights) != len(weights) * (len(inside) + 1):
            continue
        root = _Part(section)
        for name, tensor in parts[section].tensors:
            path = path_of(tensor)
            if not any(path[:depth] in inside for depth in range(len(path))):
                root.add(name, tensor)
        if root.weights == weights:
            yield root


def _copies_among(group: Sequence[_Part], whole: _Whole) -> Iterator[Path]:
    """The copies among parts that hold the same weights."""
    if len(group) < 2:
        return
    pairs = _pairs(group)
    called = [part for part in group if any(map(names.is_optimiser, part.path)) or part.path in pairs]
    names_called = {part.path for part in called}
    others = [part for part in group if part.path not in names_called]
    buffered = [part for part in group if part.counters][:_MOST_BUFFERED]
    yield from (part.path for part in group if any(_lacks_buffers(part, other) for other in buffered))
    if called and others and not any(part.counters for part in called):
        are_alone = any(len(whole.parts[path[:-1]].weights) == 2 * len(group[0].weights) for path in pairs)
        if are_alone or _are_states(called) or whole.consists_of(group):
            yield from (part.path for part in called)
    yield from _averaged([part.path for part in others])


def _are_states(called: Sequence[_Part]) -> bool:
    """Whether two of them are siblings below a name for optimiser state."""
    parents = [part.path[:-1] for part in called if any(map(names.is_optimiser, part.path[:-1]))]
    return len(set(parents)) < len(parents)


def _pairs(group: Sequence[_Part]) -> set[Path]:
    """Parts called `m` and `v` that are siblings."""
    paths = {part.path for part in group}
    parents = {path[:-1] for path in paths if path[-1] in _MOMENTS}
    return {(*each, word) for each in parents for word in _MOMENTS if all((*each, one) in paths for one in _MOMENTS)}


def _lacks_buffers(part: _Part, whole: _Part) -> bool:
    """Whether a part has all of the other's parameters, but not the counters and means of its modules.

    A branch without those modules (RAFT's feature encoder next to its context encoder) lacks their parameters too.
    """
    if part.counters or len(part.tensors) >= len(whole.tensors):
        return False
    own = {(name, tensor.shape) for name, tensor in part.tensors}
    other = {(name, tensor.shape) for name, tensor in whole.tensors}
    lacking = Counter(name.rpartition(".")[0] for name, _ in other - own)
    return own < other and lacking.keys() == whole.counters and max(lacking.values()) <= _MOST_BUFFERS


def _averaged(paths: Sequence[Path]) -> Iterator[Path]:
    """The plain twin of a part whose name says that it is the average."""
    rest = [path for path in paths if len(path) == 2]
    called = {path[-1] for path in rest}
    yield from (path for path in rest if any(path[-1] + suffix in called for suffix in _TWIN_SUFFIXES))
    yield from (path for path in rest if any(prefix + path[-1] in called for prefix in _TWIN_PREFIXES))


def _unnamed(parts: Mapping[Path, _Part]) -> Iterator[Path]:
    """Lists of arrays without names whose shapes are those of a named part's matrices and weights, in order."""
    named: set[tuple[tuple[int, ...], ...]] = set()
    lists: list[tuple[Path, tuple[tuple[int, ...], ...]]] = []
    for part in parts.values():
        large = tuple(tensor.shape for _, tensor in part.tensors if len(tensor.shape) >= 2)
        if sum(len(shape) >= 3 for shape in large) < 2:
            continue
        if all(name.isdecimal() for name, _ in part.tensors):
            lists.append((part.path, large))
        elif not any(name.rpartition(".")[2].isdecimal() for name, _ in part.tensors):
            named.add(large)
    yield from (path for path, large in lists if large in named)
