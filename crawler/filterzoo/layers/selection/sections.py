"""Which of a file's tensors belong to the network: one state dict, no state of an optimiser, no copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from filterzoo.layers.selection import names
from filterzoo.records import Tensor

SECTIONS = (
    "state_dict_ema",
    "model_ema",
    "ema",
    "state_dict",
    "network_weights",
    "net",
    "model",
    "model_state_dict",
    "params_ema",
    "params",
    "last",
    "",
)
"""Preference among several state dicts in one file: the first of these that holds a convolution, then any other in
order."""

_TWIN_SUFFIXES = ("_ema", "_avg")
_OPTIMISER_KEYS = frozenset(
    {"optimizer", "optimizers", "optim", "opt_state", "exp_avg", "exp_avg_sq", "momentum_buffer"}
)
_MOST_DEPTH = 6
"""How many levels down copies of the network are searched."""


def sections(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The state dicts of a file, the preferred one first; those of optimisers are none."""
    found: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault(tensor.section, []).append(tensor)
    for name in sorted(found, key=_preference):
        if not _is_training_state(name):
            yield found[name]


def _preference(section: str) -> int:
    """Known sections first; the others keep the order of the file (sorting is stable)."""
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


def _is_training_state(section: str) -> bool:
    words = section.lower().split("_")
    return any(names.is_optimiser(word) for word in words) or bool({"scheduler", "scaler", "sched"} & set(words))


def of_network(section: Sequence[Tensor]) -> list[Tensor]:
    """The tensors of one state dict without slots, moments, and plain twins of averaged weights.

    A slot is a tensor whose name starts with that of another of the same shape (`conv/kernel/Adam`). Of parts of the
    network that hold the same names and shapes, those called like an optimiser's state or an average are copies.
    """
    shapes = {tensor.name: tensor.shape for tensor in section}
    own = [tensor for tensor in section if not _is_slot(tensor, shapes)]
    copies = _copies(own)
    return [tensor for tensor in own if not _lies_in(tensor.name, copies)]


def _is_slot(tensor: Tensor, shapes: dict[str, tuple[int, ...]]) -> bool:
    cut = max(tensor.name.rfind("."), tensor.name.rfind("/"))
    while cut > 0:
        if shapes.get(tensor.name[:cut]) == tensor.shape:
            return True
        cut = max(tensor.name.rfind(".", 0, cut), tensor.name.rfind("/", 0, cut))
    return False


def _lies_in(name: str, copies: set[tuple[str, ...]]) -> bool:
    parts = names.parts(name)
    if any(part.lower() in _OPTIMISER_KEYS for part in parts[:-1]):
        return True
    return any(tuple(parts[:depth]) in copies for depth in range(1, min(len(parts), _MOST_DEPTH + 1)))


def _copies(section: Sequence[Tensor]) -> set[tuple[str, ...]]:
    """Paths of submodules with the names and shapes of another one whose names mark them as its copy."""
    inside: dict[tuple[str, ...], set[tuple[str, tuple[int, ...]]]] = {}
    for tensor in section:
        if len(tensor.shape) < 3:
            continue
        parts = names.parts(tensor.name)
        for depth in range(1, min(len(parts), _MOST_DEPTH + 1)):
            inside.setdefault(tuple(parts[:depth]), set()).add((".".join(parts[depth:]), tensor.shape))
    alike: dict[frozenset[tuple[str, tuple[int, ...]]], list[tuple[str, ...]]] = {}
    for path, held in inside.items():
        alike.setdefault(frozenset(held), []).append(path)
    copies: set[tuple[str, ...]] = set()
    for paths in alike.values():
        if len(paths) > 1:
            copies.update(_copies_among(paths))
    return copies


def _copies_among(paths: list[tuple[str, ...]]) -> Iterator[tuple[str, ...]]:
    """Moments and gradients of the others; and the plain twin where one is called the average of it."""
    moments = [path for path in paths if any(map(names.is_optimiser, path))]
    if len(moments) < len(paths):
        yield from moments
    rest = [path for path in paths if len(path) == 1 and path not in moments]
    averaged = {path[0] for path in rest if any(path[0].endswith(suffix) for suffix in _TWIN_SUFFIXES)}
    for path in rest:
        if any(path[0] + suffix in averaged for suffix in _TWIN_SUFFIXES):
            yield path
