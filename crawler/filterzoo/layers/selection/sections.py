"""Which of a file's tensors belong to the network: one state dict, no state of an optimiser, no copy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from filterzoo.layers.selection import names
from filterzoo.layers.selection.copies import Path, lies_in
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
"""Preference among several state dicts in a file: the first of these with a convolution, then the others in order."""

_NUMBERED_STATE = re.compile(r"(^|\.)state\.\d+\.\w+$")
"""torch.optim numbers its parameters."""
_OPTIMISER_KEYS = frozenset(
    {"optimizer", "optimizers", "optim", "opt_state", "exp_avg", "exp_avg_sq", "momentum_buffer"}
)


def sections(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The state dicts of a file, the preferred one first; those of optimisers are excluded."""
    found = _by_section(tensors)
    yield from (found[name] for name in sorted(found, key=_preference) if not _is_training_state(name))


def states_of_training(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The parts of a file under names of optimisers and schedulers."""
    yield from (section for name, section in _by_section(tensors).items() if _is_training_state(name))


def _by_section(tensors: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {}
    for tensor in tensors:
        found.setdefault(tensor.section, []).append(tensor)
    return found


def _preference(section: str) -> int:
    """Known sections first; the others keep the order of the file (sorting is stable)."""
    return SECTIONS.index(section) if section in SECTIONS else len(SECTIONS)


def _is_training_state(section: str) -> bool:
    words = section.lower().split("_")
    return any(names.is_optimiser(word) for word in words) or bool({"scheduler", "scaler", "sched"} & set(words))


def of_network(section: Sequence[Tensor], copied: set[Path]) -> list[Tensor]:
    """The tensors of one state dict without slots, moments, and plain twins of averaged weights.

    A slot is a tensor whose name starts with that of another of the same shape (`conv/kernel/Adam`), possibly after the
    name of an optimiser (`Adam/conv/kernel/m`), or is that name after a key of its state (`exp_avg.conv.weight`).
    copied: the parts of the file that are copies of others.
    """
    own = [tensor for tensor in without_slots(section) if not (_is_state(tensor.name) or lies_in(tensor, copied))]
    rest = [tensor for tensor in own if not _is_below_key(tensor.name)]
    return own if any(len(tensor.shape) >= 3 for tensor in rest) else rest  # the file holds only optimiser state


def without_slots(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, except those below another of the same shape."""
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor in tensors:
        shapes.setdefault(tensor.section, {})[tensor.name] = tensor.shape
    return [tensor for tensor in tensors if not _is_slot(tensor, shapes[tensor.section])]


def _is_slot(tensor: Tensor, shapes: dict[str, tuple[int, ...]]) -> bool:
    parts = re.split(r"(?<=[./])", tensor.name)
    after_optimiser = next((at for at, part in enumerate(parts, 1) if names.is_optimiser(part.rstrip("./"))), 0)
    states = [at for at, part in enumerate(parts[:-1], 1) if part.rstrip("./").lower() in _OPTIMISER_KEYS]
    if any(shapes.get("".join(parts[at:])) == tensor.shape for at in states):
        return True
    return _is_below(tensor, tensor.name, shapes) or _is_below(tensor, "".join(parts[after_optimiser:]), shapes)


def _is_below(tensor: Tensor, name: str, shapes: dict[str, tuple[int, ...]]) -> bool:
    cut = max(name.rfind("."), name.rfind("/"))
    while cut > 0:
        if shapes.get(name[:cut]) == tensor.shape:
            return True
        cut = max(name.rfind(".", 0, cut), name.rfind("/", 0, cut))
    return False


def _is_below_key(name: str) -> bool:
    """Whether it is below a name that torch, Keras or optax use for optimiser state."""
    return any(part.lower() in _OPTIMISER_KEYS for part in names.parts(name)[:-1])


def _is_state(name: str) -> bool:
    """Whether it is optimiser state by its path and not named as a weight, or the state of a numbered parameter."""
    is_numbered = _NUMBERED_STATE.search(name) is not None
    if names.is_weight(name) or names.is_bias(name):
        return is_numbered and _is_below_key(name)
    return is_numbered or _is_below_key(name) or names.is_accumulator(name)
