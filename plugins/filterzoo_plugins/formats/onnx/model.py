"""ModelProto, GraphProto, NodeProto, AttributeProto, FunctionProto: the structure of an ONNX file, without elements."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.protobuf import WireReader, fixed32_tag, length_tag, signed, varint_tag
from filterzoo_plugins.formats.onnx.array import Array, read_array, read_sparse_array
from filterzoo_plugins.formats.onnx.operators import READ_OPERATORS, domain_of

MAX_NESTING = 32
"""Most levels of nested bodies and function calls."""
MAX_NODES = 300_000
MAX_ARRAYS = 300_000
_MAX_OPSET = 1000
MAX_ATTRIBUTE_INTEGERS = 256
"""Most integers of an attribute: strides, pads, axes, permutations."""


class _Model:
    """Fields of ModelProto and its parts: OperatorSetIdProto, StringStringEntryProto."""

    GRAPH = length_tag(7)
    OPSET = length_tag(8)
    METADATA = length_tag(14)
    FUNCTION = length_tag(25)
    DOMAIN = length_tag(1)
    VERSION = varint_tag(2)
    KEY = length_tag(1)
    VALUE = length_tag(2)


class _Graph:
    """Fields of GraphProto; a ValueInfoProto's name has number 1."""

    NODE = length_tag(1)
    INITIALIZER = length_tag(5)
    INPUT = length_tag(11)
    OUTPUT = length_tag(12)
    SPARSE_INITIALIZER = length_tag(15)
    VALUE_NAME = length_tag(1)


class _Node:
    """Fields of NodeProto."""

    INPUT = length_tag(1)
    OUTPUT = length_tag(2)
    NAME = length_tag(3)
    OPERATOR = length_tag(4)
    ATTRIBUTE = length_tag(5)
    DOMAIN = length_tag(7)
    OVERLOAD = length_tag(8)


_NODE_TEXTS = {_Node.NAME: "name", _Node.OPERATOR: "operator", _Node.DOMAIN: "domain", _Node.OVERLOAD: "overload"}


class _Attribute:
    """Fields of AttributeProto."""

    NAME = length_tag(1)
    FLOAT = fixed32_tag(2)
    INTEGER = varint_tag(3)
    STRING = length_tag(4)
    TENSOR = length_tag(5)
    GRAPH = length_tag(6)
    FLOATS = length_tag(7)
    SINGLE_FLOATS = fixed32_tag(7)
    SINGLE_INTEGERS = varint_tag(8)
    INTEGERS = length_tag(8)
    GRAPHS = length_tag(11)
    REFERENCE = length_tag(21)
    SPARSE = length_tag(22)


class _Function:
    """Fields of FunctionProto."""

    NAME = length_tag(1)
    INPUT = length_tag(4)
    OUTPUT = length_tag(5)
    NODE = length_tag(7)
    DOMAIN = length_tag(10)
    DEFAULT = length_tag(11)
    OVERLOAD = length_tag(13)


@dataclass(slots=True)
class Floats:
    """`count` floats from byte `offset`, one every `period` bytes."""

    offset: int
    count: int
    period: int
    is_scattered: bool = False

    @property
    def end(self) -> int:
        """The offset of the next float."""
        return self.offset + self.count * self.period


@dataclass(slots=True)
class Attribute:
    """One attribute of a node; fields that its kind does not set have protobuf's defaults."""

    name: str = ""
    integer: int = 0
    text: str = ""
    integers: list[int] = field(default_factory=list)
    too_long: bool = False
    """It has more integers than are read; no relevant attribute has as many."""
    floats: Floats | None = None
    """The location of its floats."""
    array: Array | None = None
    graphs: list[Graph] = field(default_factory=list)
    reference: str = ""
    """In a function's body: the name of the call's attribute that replaces it."""


@dataclass(slots=True)
class Node:
    """One operation. Attributes are read only for relevant operators."""

    offset: int
    operator: str = ""
    domain: str = ""
    overload: str = ""
    name: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    attributes: dict[str, Attribute] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """Its name in refusals."""
        return ascii(self.name)[:80] if self.name else f"byte {self.offset}"


@dataclass(slots=True)
class Graph:
    """The model's graph, or the body of an If, a Loop or a Scan."""

    nodes: list[Node] = field(default_factory=list)
    initializers: list[Array] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Function:
    """A function that the model defines."""

    name: str = ""
    domain: str = ""
    overload: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    defaults: dict[str, Attribute] = field(default_factory=dict)


@dataclass(slots=True)
class Model:
    """A whole file. arrays: every initializer and every Constant's array, in file order."""

    graph: Graph
    functions: dict[tuple[str, str, str], Function]
    arrays: list[Array]


def read_metadata(reader: WireReader) -> dict[str, str]:
    """ModelProto.metadata_props, without reading the graph; the last of repeated keys counts, as in ONNX."""
    metadata = dict[str, str]()
    for tag, value, offset in reader.fields(0, reader.file.size):
        if tag == _Model.METADATA:
            key = text = ""
            for part, length, start in reader.fields(offset, offset + value):
                if part == _Model.KEY:
                    key = reader.text(start, length)
                elif part == _Model.VALUE:
                    text = reader.text(start, length)
            metadata[key] = text
    return metadata


def read_opset(reader: WireReader) -> int | None:
    """The version of ONNX's default opset in ModelProto.opset_import; None if none or several are stated."""
    versions = set[int]()
    for tag, value, offset in reader.fields(0, reader.file.size):
        if tag == _Model.OPSET:
            domain, version = "", 0
            for part, number, start in reader.fields(offset, offset + value):
                if part == _Model.DOMAIN:
                    domain = reader.text(start, number)
                elif part == _Model.VERSION:
                    version = number
            if domain_of(domain) == "":
                versions.add(version)
    (version,) = versions if len(versions) == 1 else (0,)
    return version if 0 < version <= _MAX_OPSET else None


class ModelReader:
    """Reads the structure of one file, within the limits above; Refused as by `WireReader` and `read_array`."""

    def __init__(self, reader: WireReader) -> None:
        self.reader = reader
        self.arrays = list[Array]()
        self.node_count = 0

    def model(self) -> Model:
        """The whole file."""
        graph: Graph | None = None
        functions = dict[tuple[str, str, str], Function]()
        for tag, value, offset in self.reader.fields(0, self.reader.file.size):
            if tag == _Model.GRAPH:
                if graph is not None:
                    raise Refused(Reason.UNSAFE, "the model has two graphs", f"byte {offset}")
                graph = self._graph(offset, offset + value, 0)
            elif tag == _Model.FUNCTION:
                function = self._function(offset, offset + value)
                key = (function.domain, function.name, function.overload)
                if key in functions:
                    raise Refused(Reason.UNSAFE, "two functions of one name", ascii(function.name)[:80])
                functions[key] = function
        if graph is None:
            raise Refused(Reason.MALFORMED, "an ONNX model without a graph")
        return Model(graph, functions, self.arrays)

    def _graph(self, start: int, end: int, nesting: int) -> Graph:
        if nesting > MAX_NESTING:
            raise Refused(Reason.LIMIT, f"bodies are nested deeper than {MAX_NESTING}", f"byte {start}")
        graph = Graph()
        for tag, value, offset in self.reader.fields(start, end):
            match tag:
                case _Graph.NODE:
                    graph.nodes.append(self._node(offset, offset + value, nesting))
                case _Graph.INITIALIZER:
                    graph.initializers.append(self._listed(read_array(self.reader, offset, offset + value)))
                case _Graph.SPARSE_INITIALIZER:
                    graph.initializers.append(self._listed(read_sparse_array(self.reader, offset, offset + value)))
                case _Graph.INPUT:
                    graph.inputs.append(self._value_name(offset, offset + value))
                case _Graph.OUTPUT:
                    graph.outputs.append(self._value_name(offset, offset + value))
        return graph

    def _function(self, start: int, end: int) -> Function:
        function, text = Function(), self.reader.text
        for tag, value, offset in self.reader.fields(start, end):
            match tag:
                case _Function.NAME:
                    function.name = text(offset, value)
                case _Function.DOMAIN:
                    function.domain = domain_of(text(offset, value))
                case _Function.OVERLOAD:
                    function.overload = text(offset, value)
                case _Function.INPUT:
                    function.inputs.append(text(offset, value))
                case _Function.OUTPUT:
                    function.outputs.append(text(offset, value))
                case _Function.NODE:
                    function.nodes.append(self._node(offset, offset + value, 0))
                case _Function.DEFAULT:
                    default = self._attribute(offset, offset + value, 0)
                    function.defaults[default.name] = default
        return function

    def _node(self, start: int, end: int, nesting: int) -> Node:
        self.node_count += 1
        if self.node_count > MAX_NODES:
            raise Refused(Reason.LIMIT, f"more than {MAX_NODES} nodes", f"byte {start}")
        node, text = Node(start), self.reader.text
        attributes = list[tuple[int, int]]()
        for tag, value, offset in self.reader.fields(start, end):
            match tag:
                case _Node.INPUT:
                    node.inputs.append(text(offset, value))
                case _Node.OUTPUT:
                    node.outputs.append(text(offset, value))
                case _Node.ATTRIBUTE:
                    attributes.append((offset, offset + value))
                case _ if tag in _NODE_TEXTS:
                    setattr(node, _NODE_TEXTS[tag], text(offset, value))
        node.domain = domain_of(node.domain)
        # Only now is it known whether attributes matter: operators of other domains may be functions of the model.
        if node.domain or node.operator in READ_OPERATORS:
            self._read_attributes(node, attributes, nesting)
        return node

    def _read_attributes(self, node: Node, spans: list[tuple[int, int]], nesting: int) -> None:
        for start, end in spans:
            attribute = self._attribute(start, end, nesting)
            if attribute.name in node.attributes:
                raise Refused(Reason.UNSAFE, f"two attributes {ascii(attribute.name)[:40]} of one node", node.where)
            node.attributes[attribute.name] = attribute
        value = node.attributes.get("value") or node.attributes.get("sparse_value")
        if node.operator == "Constant" and not node.domain and value and value.array and node.outputs:
            value.array = self._listed(replace(value.array, name=node.outputs[0]))

    def _attribute(self, start: int, end: int, nesting: int) -> Attribute:
        attribute, reader = Attribute(), self.reader
        for tag, value, offset in reader.fields(start, end):
            match tag:
                case _Attribute.NAME:
                    attribute.name = reader.text(offset, value)
                case _Attribute.TENSOR | _Attribute.SPARSE:
                    if attribute.array:
                        raise Refused(Reason.UNSAFE, "an attribute has two arrays", f"byte {offset}")
                    read = read_array if tag == _Attribute.TENSOR else read_sparse_array
                    attribute.array = read(reader, offset, offset + value)
                case _Attribute.GRAPH | _Attribute.GRAPHS:
                    attribute.graphs.append(self._graph(offset, offset + value, nesting + 1))
                case _Attribute.REFERENCE:
                    attribute.reference = reader.text(offset, value)
                case _:
                    _take_numbers(attribute, reader, tag, value, offset)
        return attribute

    def _listed(self, array: Array) -> Array:
        if len(self.arrays) >= MAX_ARRAYS:
            raise Refused(Reason.LIMIT, f"more than {MAX_ARRAYS} arrays", f"byte {array.offset}")
        self.arrays.append(array)
        return array

    def _value_name(self, start: int, end: int) -> str:
        for tag, value, offset in self.reader.fields(start, end):
            if tag == _Graph.VALUE_NAME:
                return self.reader.text(offset, value)
        return ""


def _take_numbers(attribute: Attribute, reader: WireReader, tag: int, value: int, offset: int) -> None:
    """Set a scalar field of an attribute."""
    match tag:
        case _Attribute.INTEGER:
            attribute.integer = signed(value)
        case _Attribute.FLOAT:
            attribute.floats = Floats(offset, 1, 4)
        case _Attribute.SINGLE_FLOATS:
            _take_single(attribute, offset)
        case _Attribute.STRING if value <= MAX_ATTRIBUTE_INTEGERS:
            attribute.text = reader.read(offset, value).decode("latin-1")
        case _Attribute.FLOATS if value % 4 == 0:
            attribute.floats = Floats(offset, value // 4, 4, is_scattered=attribute.floats is not None)
        case _Attribute.SINGLE_INTEGERS if len(attribute.integers) < MAX_ATTRIBUTE_INTEGERS:
            attribute.integers.append(signed(value))
        case _Attribute.INTEGERS if value <= MAX_ATTRIBUTE_INTEGERS:
            attribute.integers += map(signed, reader.varints(offset, value, MAX_ATTRIBUTE_INTEGERS))
        case _Attribute.SINGLE_INTEGERS | _Attribute.INTEGERS:
            attribute.too_long = True


def _take_single(attribute: Attribute, offset: int) -> None:
    """Add one of many floats, each after its own tag of one byte."""
    floats = attribute.floats
    if floats is None:
        attribute.floats = Floats(offset, 1, 5)
    elif floats.end == offset and floats.period == 5:
        floats.count += 1
    else:
        floats.is_scattered = True
