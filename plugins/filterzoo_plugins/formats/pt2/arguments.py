"""The values of a torch.export graph, and the arguments of its nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from filterzoo import Reason, Refused, Tensor
from filterzoo_plugins.encodings import folding
from filterzoo_plugins.encodings.folding import Unfoldable


class Value(NamedTuple):
    """Facts about a value: depth (docs/measures.md, 2), whether it depends on an input, its elements if constant.

    name: of the stored tensor that it is named after. obstacle: why a constant is not known.
    """

    depth: int
    live: bool
    tensor: Tensor | None = None
    name: str = ""
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class Arguments:
    """A node's arguments, by the names of the operator's schema: values, lists of values, or JSON."""

    tensors: Mapping[str, Value]
    lists: Mapping[str, list[Value]]
    plain: Mapping[str, Any]

    @classmethod
    def of(cls, node: Mapping[str, Any], find: Callable[[str], Value]) -> Arguments:
        """The arguments of a node of the graph."""
        tensors, lists, plain = dict[str, Any](), dict[str, list[Any]](), dict[str, Any]()
        inputs = node.get("inputs")
        for entry in inputs if isinstance(inputs, list) else []:
            name, argument = (entry.get("name"), entry.get("arg")) if isinstance(entry, dict) else (None, None)
            if not isinstance(name, str) or not isinstance(argument, dict):
                raise Refused(Reason.MALFORMED, "a node with an argument that is none")
            for kind, value in argument.items():
                if kind in {"as_tensor", "as_optional_tensor"} and isinstance(value, dict):
                    inner = value.get("as_tensor", value)
                    if isinstance(inner, dict) and isinstance(inner.get("name"), str):
                        tensors[name] = find(inner["name"])
                elif kind in {"as_tensors", "as_optional_tensors"} and isinstance(value, list):
                    named = [one.get("as_tensor", one) for one in value if isinstance(one, dict)]
                    lists[name] = [
                        find(one["name"]) for one in named if isinstance(one, dict) and isinstance(one.get("name"), str)
                    ]
                else:
                    plain[name] = value
        return cls(tensors, lists, plain)

    def values(self) -> list[Value]:
        """All values among the arguments."""
        return [*self.tensors.values(), *(value for group in self.lists.values() for value in group)]

    def value(self, name: str) -> Value | None:
        """A value argument."""
        return self.tensors.get(name)

    def tensor(self, name: str) -> Tensor:
        """A constant tensor, or a literal number of the graph."""
        value = self.tensors.get(name)
        if value is not None and value.tensor is not None:
            return value.tensor
        literal = self.plain.get(name)
        if value is None and isinstance(literal, int | float) and not isinstance(literal, bool):
            try:
                return folding.number(literal)
            except (OverflowError, ValueError) as error:
                raise Unfoldable("a number beyond float32") from error
        raise Unfoldable(f"it has no constant {name}")

    def integer(self, name: str, default: int) -> int:
        """An integer, -1 for anything else."""
        value = self.plain.get(name, default)
        return value if type(value) is int and abs(value) < 1 << 48 else -1

    def integers(self, name: str, default: int) -> list[int] | None:
        """A list of integers; None for anything else, and for lists known only at run time."""
        value = self.plain.get(name, [default])
        listed = value if isinstance(value, list) else [value]
        plain = [one.get("as_int") if isinstance(one, dict) else one for one in listed]
        numbers = [one for one in plain if type(one) is int and abs(one) < 1 << 31]
        return numbers if numbers and len(numbers) == len(plain) else None

    def text(self, name: str) -> str:
        """Text, "" for anything else."""
        value = self.plain.get(name)
        return value if isinstance(value, str) else ""

    def truth(self, name: str) -> bool:
        """Whether a boolean argument is true."""
        return self.plain.get(name) is True
