"""What the text of a TorchScript archive says, as a tree."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a string, True, False or None."""

    value: object


@dataclass(frozen=True, slots=True)
class Variable:
    """A name."""

    name: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """`owner.name`."""

    owner: Node
    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """`function(arguments)`; `keywords` are those given by name."""

    function: Node
    arguments: tuple[Node, ...]
    keywords: tuple[tuple[str, Node], ...] = ()


@dataclass(frozen=True, slots=True)
class Items:
    """A list or a tuple."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Index:
    """`owner[position]`."""

    owner: Node
    position: Node


@dataclass(frozen=True, slots=True)
class Operation:
    """Anything else that makes one value of several."""

    operands: tuple[Node, ...]


Node = Literal | Variable | Attribute | Call | Items | Index | Operation


@dataclass(frozen=True, slots=True)
class Assign:
    """`targets = value`; no targets for a plain expression, "" for one that is no name."""

    targets: tuple[str, ...]
    value: Node


@dataclass(frozen=True, slots=True)
class Return:
    """`return value`."""

    value: Node


@dataclass(frozen=True, slots=True)
class Branch:
    """`if condition: body else: otherwise`."""

    condition: Node
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """A loop or a `with`: what its head computes goes to `targets`, then the body runs."""

    targets: tuple[str, ...]
    head: Node
    body: tuple[Statement, ...]


Statement = Assign | Return | Branch | Block


@dataclass(frozen=True, slots=True)
class Function:
    """A function or method: its parameters with their defaults, and its body."""

    parameters: tuple[tuple[str, Node | None], ...]
    body: tuple[Statement, ...]


@dataclass(slots=True)
class Source:
    """One file: functions by name, methods by class and name, class constants alike."""

    functions: dict[tuple[str, str], Function] = field(default_factory=dict)
    constants: dict[tuple[str, str], Node] = field(default_factory=dict)
