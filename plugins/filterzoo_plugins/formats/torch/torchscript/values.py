"""Values of names during the interpretation of TorchScript code, and their depth in the network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from filterzoo_plugins.encodings.pickle.inert import Instance, Name
from filterzoo_plugins.formats.torch.values import StoredTensor

MAX_ITEMS = 100
"""Longest list that is inspected."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the archive; `path` is its name below the root."""

    path: str
    instance: Instance

    @property
    def owner(self) -> tuple[str, str]:
        """The module and name of its class."""
        maker = self.instance.maker
        return (maker.module, maker.name) if type(maker) is Name else ("", "")

    def child(self, name: str) -> Value | None:
        """The attribute's value in the file; None if it has none."""
        state = self.instance.state
        if type(state) is not dict or name not in state:
            return None
        return lift(state[name], f"{self.path}.{name}" if self.path else name)


@dataclass(frozen=True, slots=True)
class Weight:
    """A stored tensor of the file."""

    name: str
    tensor: StoredTensor


@dataclass(frozen=True, slots=True)
class Known:
    """A number, a string, a boolean or None."""

    value: object


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """A list or tuple. Lists may contain each other many times, so the depth is computed once."""

    items: tuple[Value, ...]
    depth: int


def listed(items: Iterable[Value]) -> Listed:
    """A list of values, as deep as its deepest item."""
    values = tuple(items)
    return Listed(values, max((depth(value) for value in values), default=-1))


@dataclass(frozen=True, slots=True)
class Path:
    """A dotted name outside the modules: `torch.conv2d`, a function of the archive."""

    name: str


@dataclass(frozen=True, slots=True)
class Flow:
    """A computed value: the number of operations on the longest path from an input; -1 if it depends on none."""

    depth: int


Value = Module | Weight | Known | Listed | Path | Flow
UNKNOWN = Flow(-1)


def lift(value: object, path: str) -> Value:
    """The value in the code for a value from the pickle."""
    if type(value) is Instance:
        is_module = type(value.maker) is Name and value.maker.module.startswith("__torch__")
        return Module(path, value) if is_module else UNKNOWN
    if type(value) is StoredTensor:
        return Weight(path, value)
    if type(value) in {list, tuple} and isinstance(value, list | tuple) and len(value) <= MAX_ITEMS:
        nested = {list, tuple}
        return listed(
            UNKNOWN if type(item) in nested else lift(item, f"{path}.{position}") for position, item in enumerate(value)
        )
    if value is None or type(value) in {int, float, bool, str}:
        return Known(value)
    return UNKNOWN


def depth(value: Value) -> int:
    """The depth of a value; -1 if it depends on no input."""
    return value.depth if isinstance(value, Flow | Listed) else -1


def merged(first: Value, second: Value) -> Value:
    """The value of a variable after two branches."""
    if first is second or (not isinstance(first, Listed) and first == second):
        return first
    return Flow(max(depth(first), depth(second)))


def plain(value: Value) -> object:
    """The plain value of numbers, strings and lists of them; None for anything computed."""
    if isinstance(value, Known):
        return value.value
    if isinstance(value, Listed):
        return tuple(item.value if isinstance(item, Known) else None for item in value.items)
    return None
