"""Reads TensorFlow graphs: SavedModel, MetaGraphDef, GraphDef and their functions, as nodes and edges."""

from __future__ import annotations

from dataclasses import dataclass, field

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import WireReader, length_tag, signed, varint_tag
from filterzoo_plugins.formats.tensorflow.types import StoredConstant, read_numbers, read_shape

MAX_NODES = 500_000
"""Most nodes of a graph and all of its functions."""
MAX_INPUTS = 2_000_000
MAX_BOUND = 100_000
"""Most variables that a function reads."""
MAX_LIST = 64
"""Most numbers of an attribute."""
_SERVE = "serve"
_WANTED = frozenset(
    {"strides", "dilations", "padding", "explicit_paddings", "data_format", "value", "shared_name", "f", "shape"}
    | {"begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"}
    | {"then_branch", "else_branch", "branches", "body", "DstT", "perm", "axis", "squeeze_dims", "block_size"}
)

Attribute = str | int | tuple[int, ...] | tuple[str, ...] | StoredConstant


@dataclass(slots=True)
class Node:
    """An operation. inputs: names as in the graph; control inputs start with `^`."""

    name: str
    operation: str
    inputs: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)

    def text(self, key: str) -> str:
        """A text attribute, or the name of a function; "" if there is none."""
        value = self.attributes.get(key)
        return value if isinstance(value, str) else ""

    def integer(self, key: str) -> int:
        """An integer attribute, 0 if there is none."""
        value = self.attributes.get(key)
        return value if isinstance(value, int) else 0

    def integers(self, key: str) -> tuple[int, ...]:
        """An attribute that is a list of integers, () if there is none."""
        value = self.attributes.get(key)
        return tuple(n for n in value if isinstance(n, int)) if isinstance(value, tuple) else ()


@dataclass(slots=True)
class Function:
    """A function. returned: name of a result -> name of the node output."""

    name: str
    arguments: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    returned: dict[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> list[str]:
        """The node outputs that the function returns, in order."""
        return [self.returned.get(name, "") for name in self.results]


@dataclass(slots=True)
class Model:
    """A graph. outputs: of each signature, [] if all nodes count. restore: the node that loads variables.

    bound: function -> objects of the checkpoint bound to its last arguments.
    """

    nodes: list[Node] = field(default_factory=list)
    functions: dict[str, Function] = field(default_factory=dict)
    outputs: list[list[str]] = field(default_factory=list)
    restore: str = ""
    tags: list[str] = field(default_factory=list)
    bound: dict[str, tuple[int, ...]] = field(default_factory=dict)


class ModelReader:
    """Reads one file."""

    def __init__(self, reader: WireReader) -> None:
        self.reader = reader
        self._nodes = 0
        self._inputs = 0

    def saved_model(self) -> Model:
        """The graph with the tag `serve`, otherwise the first one."""
        models = [self._meta_graph(at, at + length) for at, length in self._all(0, self.reader.file.size, 2)]
        if not models:
            raise Refused(Reason.MALFORMED, "a SavedModel without a graph", "byte 0")
        return next((model for model in models if _SERVE in model.tags), models[0])

    def graph(self) -> Model:
        """The graph of a file that is a GraphDef."""
        model = Model()
        self._graph(model, 0, self.reader.file.size)
        return model

    def _meta_graph(self, start: int, end: int) -> Model:
        model = Model()
        for tag, length, at in self.reader.fields(start, end):
            if tag == length_tag(1):
                model.tags += [self.reader.text(offset, size) for offset, size in self._all(at, at + length, 4)]
            elif tag == length_tag(2):
                self._graph(model, at, at + length)
            elif tag == length_tag(3):
                model.restore = self._text(at, at + length, 3)
            elif tag == length_tag(5):
                for offset, size in self._all(at, at + length, 2):
                    given = [
                        self._output(output, output + count) for output, count in self._all(offset, offset + size, 2)
                    ]
                    model.outputs.append([name for names in given for name in names])
            elif tag == length_tag(7):
                model.bound |= {
                    self._text(offset, offset + size, 1): self._bound(offset, offset + size)
                    for offset, size in self._all(at, at + length, 2)
                }
        return model

    def _bound(self, start: int, end: int) -> tuple[int, ...]:
        """SavedConcreteFunction.bound_inputs, of an entry of SavedObjectGraph.concrete_functions."""
        numbers: list[int] = []
        for offset, size in self._all(start, end, 2):
            for tag, value, at in self.reader.fields(offset, offset + size):
                if tag == length_tag(2):
                    numbers += self.reader.varints(at, value, MAX_BOUND)
                elif tag == varint_tag(2) and len(numbers) < MAX_BOUND:
                    numbers.append(value)
        return tuple(numbers)

    def _output(self, start: int, end: int) -> list[str]:
        """The name of a TensorInfo, of an entry of SignatureDef.outputs."""
        return [name for offset, size in self._all(start, end, 2) if (name := self._text(offset, offset + size, 1))]

    def _graph(self, model: Model, start: int, end: int) -> None:
        for tag, length, at in self.reader.fields(start, end):
            if tag == length_tag(1):
                model.nodes.append(self._node(at, at + length))
            elif tag == length_tag(2):
                for offset, size in self._all(at, at + length, 1):
                    function = self._function(offset, offset + size)
                    model.functions[function.name] = function

    def _function(self, start: int, end: int) -> Function:
        function = Function("")
        for tag, length, at in self.reader.fields(start, end):
            if tag == length_tag(1):
                self._signature(function, at, at + length)
            elif tag == length_tag(3):
                function.nodes.append(self._node(at, at + length))
            elif tag == length_tag(4):
                function.returned[self._text(at, at + length, 1)] = self._text(at, at + length, 2)
        return function

    def _signature(self, function: Function, start: int, end: int) -> None:
        for tag, length, at in self.reader.fields(start, end):
            if tag == length_tag(1):
                function.name = self.reader.text(at, length)
            elif tag in {length_tag(2), length_tag(3)}:
                names = function.arguments if tag == length_tag(2) else function.results
                names.append(self._text(at, at + length, 1))

    def _node(self, start: int, end: int) -> Node:
        node = Node("", "")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise Refused(Reason.LIMIT, f"more than {MAX_NODES} nodes", f"byte {start}")
        for tag, length, at in self.reader.fields(start, end):
            if tag == length_tag(1):
                node.name = self.reader.text(at, length)
            elif tag == length_tag(2):
                node.operation = self.reader.text(at, length)
            elif tag == length_tag(3):
                self._inputs += 1
                if self._inputs > MAX_INPUTS:
                    raise Refused(Reason.LIMIT, f"more than {MAX_INPUTS} edges", f"byte {at}")
                node.inputs.append(self.reader.text(at, length))
            elif tag == length_tag(5):
                self._attribute(node, at, at + length)
        if not node.name or not node.operation:
            raise Refused(Reason.MALFORMED, "a node without a name or an operation", f"byte {start}")
        return node

    def _attribute(self, node: Node, start: int, end: int) -> None:
        key = ""
        for tag, length, at in self.reader.fields(start, end):
            if tag == length_tag(1):
                key = self.reader.text(at, length)
            elif tag == length_tag(2) and key in _WANTED:
                value = self._value(node, at, at + length)
                if value is not None:
                    node.attributes[key] = value

    def _value(self, node: Node, start: int, end: int) -> Attribute | None:
        for tag, value, at in self.reader.fields(start, end):
            match tag:
                case 0x12:  # a text
                    return self.reader.text(at, value)
                case 0x18 | 0x30:  # an integer, a type
                    return signed(value)
                case 0x3A:
                    return read_shape(self.reader, at, at + value, show(node.name))
                case 0x42:
                    return read_numbers(self.reader, at, at + value, node.name)
                case 0x0A:
                    return self._list(at, at + value)
                case 0x52:
                    return self._text(at, at + value, 1)
        return None

    def _list(self, start: int, end: int) -> tuple[int, ...] | tuple[str, ...]:
        """A list of integers, or of function names."""
        numbers: list[int] = []
        functions: list[str] = []
        for tag, value, at in self.reader.fields(start, end):
            if tag == length_tag(3):
                numbers += map(signed, self.reader.varints(at, value, MAX_LIST))
            elif tag == varint_tag(3):
                numbers.append(signed(value))
            elif tag == length_tag(9):
                functions.append(self._text(at, at + value, 1))
            if len(numbers) + len(functions) > MAX_LIST:
                raise Refused(Reason.LIMIT, f"an attribute of more than {MAX_LIST} values", f"byte {at}")
        return tuple(functions) if functions else tuple(numbers)

    def _text(self, start: int, end: int, number: int) -> str:
        """A text field of a message, "" if it is omitted."""
        return next((self.reader.text(at, length) for at, length in self._all(start, end, number)), "")

    def _all(self, start: int, end: int, number: int) -> list[tuple[int, int]]:
        """(offset, length) of a repeated field."""
        wanted = length_tag(number)
        return [(at, length) for tag, length, at in self.reader.fields(start, end) if tag == wanted]
