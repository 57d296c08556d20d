"""Traverses the graph of an ONNX model from its inputs, to find the weight and depth of every convolution."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from filterzoo import DTYPES, Convolution, NumberClass, Reason, Refused, Span, Tensor, stored_tensors
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.formats.onnx.constant import Constant, Value, quantisation_of
from filterzoo_plugins.formats.onnx.convolution import convolution_of
from filterzoo_plugins.formats.onnx.folds import fold, with_scale
from filterzoo_plugins.formats.onnx.model import MAX_NESTING
from filterzoo_plugins.formats.onnx.operators import CONVOLUTIONS, FOLDS, Operator, looks_like_convolution
from filterzoo_plugins.formats.onnx.order import in_order
from filterzoo_plugins.formats.onnx.views import attributes_of, constant_of, integer_scales

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from filterzoo_plugins.encodings.protobuf import WireReader
    from filterzoo_plugins.formats.onnx.array import Array
    from filterzoo_plugins.formats.onnx.model import Attribute, Function, Graph, Model, Node

MAX_STEPS = 400_000
"""Most nodes that are visited; those of a function count once for each call."""
_PIECE = 1 << 20
"""Bytes compared at a time."""
KERNEL_WEIGHT_RANKS = (3, 4, 5)
"""Ranks of weights with 1-D, 2-D and 3-D kernels."""


@dataclass(frozen=True, slots=True)
class _Scope:
    """The names of one graph; a body also sees the names of enclosing graphs."""

    outer: _Scope | None = None
    values: dict[str, Value | None] = field(default_factory=dict)

    def define(self, name: str, value: Value | None, where: str) -> None:
        if name in self.values:
            raise Refused(Reason.MALFORMED, f"two values are named {ascii(name)[:80]}", where)
        self.values[name] = value

    def find(self, name: str, where: str) -> Value | None:
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.values:
                return scope.values[name]
            scope = scope.outer
        raise Refused(Reason.MALFORMED, f"nothing before it gives the value {ascii(name)[:80]}", where)

    def scale_among(self, names: Sequence[str]) -> Value | None:
        """The stored number among these names, if there is exactly one."""
        values = [self.values.get(name) for name in names]
        stored = [value for value in values if value and value.constant and value.constant.array.count == 1]
        return stored[0] if len(stored) == 1 else None


@dataclass(frozen=True, slots=True)
class _Frame:
    """The context of a node. entry: the depth at which its body starts.

    bindings: the attributes of the enclosing function's call. calls: the enclosing functions.
    """

    scope: _Scope
    entry: int = 0
    nesting: int = 0
    bindings: Mapping[str, Attribute] = field(default_factory=dict)
    calls: frozenset[tuple[str, str, str]] = frozenset()


class GraphWalk:
    """One traversal of one model. Afterwards, `convolutions` has the weight of each, in node order."""

    def __init__(self, model: Model, reader: WireReader) -> None:
        self.model = model
        self.reader = reader
        self.convolutions = Convolutions()
        self.read = set[int]()
        """Offsets of the arrays that are weights of convolutions."""
        self._steps = 0

    def run(self) -> None:
        """Traverse the graph; Refused if a convolution's weight contradicts it or its storage is not supported."""
        self._graph(self.model.graph, _Frame(_Scope()), [Value(0, live=True)] * len(self.model.graph.inputs))

    def _graph(self, graph: Graph, frame: _Frame, inputs: Sequence[Value]) -> list[Value | None]:
        """Traverse a graph in a new scope; returns the values of its outputs."""
        scope = frame.scope
        for array in graph.initializers:
            value = Value(0, live=False, constant=Constant.of(array))
            # Some tools write an array twice; if the two differ, runtimes disagree on which one counts.
            if array.name not in scope.values or not self._is_same(array, scope.values[array.name]):
                scope.define(array.name, value, "the graph's initializers")
        for name, value in zip(graph.inputs, inputs, strict=True):
            # Before IR version 4 every initializer was also listed among the inputs.
            if name and name not in scope.values:
                scope.define(name, value, "the graph's inputs")
        self._nodes(graph.nodes, frame)
        return [scope.find(name, "the graph's outputs") if name else None for name in graph.outputs]

    def _is_same(self, array: Array, known: Value | None) -> bool:
        """Whether a repeated array has the same elements."""
        other = known.constant.array if known and known.constant else None
        if other is None or (other.dtype, other.shape) != (array.dtype, array.shape):
            return False
        places = [_location(each) for each in (array, other)]
        if places[0] is None or places[1] is None or places[0][1:] != places[1][1:]:
            return False
        (first, length, _), (second, _, _) = places[0], places[1]
        read = self.reader.file.read
        pieces = ((at, min(_PIECE, length - at)) for at in range(0, length, _PIECE))
        return all(read(first + at, size) == read(second + at, size) for at, size in pieces)

    def _nodes(self, nodes: Sequence[Node], frame: _Frame) -> None:
        scales = integer_scales(nodes)
        for node in in_order(nodes):
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise Refused(Reason.LIMIT, f"more than {MAX_STEPS} nodes, calls of functions unrolled", node.where)
            inputs = [frame.scope.find(name, node.where) if name else None for name in node.inputs]
            if node.outputs and node.outputs[0] in scales:
                inputs = [*inputs[:4], *[None] * (4 - len(inputs)), frame.scope.scale_among(scales[node.outputs[0]])]
            outputs = self._node(node, inputs, frame)
            for name, value in zip(node.outputs, outputs, strict=False):
                if name:
                    frame.scope.define(name, value, node.where)

    def _node(self, node: Node, inputs: list[Value | None], frame: _Frame) -> Sequence[Value | None]:
        """The values of a node's outputs."""
        plain = _computed(inputs, frame.entry)
        operator = (node.domain, node.operator)
        function = self.model.functions.get((*operator, node.overload))
        if function is not None:
            return self._call(node, function, inputs, frame)
        if operator in CONVOLUTIONS:
            with self.convolutions.reading(node.where, plain.depth):
                self._convolution(node, CONVOLUTIONS[operator], inputs, plain.depth, frame)
        elif operator == ("", "Constant"):
            return [Value(0, live=False, constant=constant_of(node, attributes_of(node, frame.bindings)))]
        elif operator in FOLDS and not plain.live:
            constants = fold(node, attributes_of(node, frame.bindings), inputs, self.reader)
            return [plain._replace(constant=constant) for constant in constants]
        elif any(attribute.graphs for attribute in node.attributes.values()):
            return self._bodies(node, plain, frame)
        elif looks_like_convolution(node.operator):
            with self.convolutions.reading(node.where, plain.depth):
                _refuse_if_it_reads_a_weight(node, inputs)
        return [plain] * len(node.outputs)

    def _call(self, node: Node, function: Function, inputs: list[Value | None], frame: _Frame) -> list[Value | None]:
        """Traverse a function's body as if it were inlined at the call."""
        key = (function.domain, function.name, function.overload)
        if key in frame.calls:
            raise Refused(Reason.MALFORMED, f"the function {ascii(function.name)[:80]} calls itself", node.where)
        if not function.domain:
            raise Refused(Reason.UNSUPPORTED, "functions in place of standard operators are not read", node.where)
        nesting = _deeper(frame, node)
        scope = _Scope()
        for place, name in enumerate(function.inputs):
            scope.define(name, inputs[place] if place < len(inputs) else None, node.where)
        bindings = {**function.defaults, **attributes_of(node, frame.bindings)}
        self._nodes(function.nodes, _Frame(scope, frame.entry, nesting, bindings, frame.calls | {key}))
        return [scope.find(name, node.where) for name in function.outputs]

    def _bodies(self, node: Node, plain: Value, frame: _Frame) -> list[Value | None]:
        """Traverse the bodies of an If, a Loop or a Scan: they start at the node's depth and see enclosing names.

        Their inputs and outputs are computed at run time.
        """
        nesting = _deeper(frame, node)
        depths = [plain.depth] * len(node.outputs)
        argument = Value(plain.depth - 1, live=True)
        for attribute in node.attributes.values():
            for graph in attribute.graphs:
                inner = _Frame(_Scope(frame.scope), plain.depth - 1, nesting, frame.bindings, frame.calls)
                values = self._graph(graph, inner, [argument] * len(graph.inputs))
                # The first output of a Loop's body is the condition.
                values = values[1:] if node.operator == "Loop" else values
                for place, value in enumerate(values[: len(depths)]):
                    depths[place] = max(depths[place], value.depth if value else 0)
        return [Value(depth, live=True) for depth in depths]

    def _convolution(
        self, node: Node, operator: Operator, inputs: list[Value | None], depth: int, frame: _Frame
    ) -> None:
        """Add a convolution's weight, unless it is computed at run time."""
        weight = inputs[operator.weight] if operator.weight < len(inputs) else None
        if weight is None:
            raise Refused(Reason.MALFORMED, "a convolution without a weight", node.where)
        if weight.live:
            return
        name = ascii(node.inputs[operator.weight])[:80]
        if weight.constant is None:
            raise Refused(Reason.UNSUPPORTED, f"the weight {name} is computed from constants, not stored", node.where)
        constant = weight.constant
        if operator.scale is not None:
            places = (operator.scale, operator.zero_point)
            constant = with_scale(constant, inputs, places, self.reader, node.where)
        attributes = attributes_of(node, frame.bindings)
        obstacle = constant.array.obstacle or constant.obstacle
        if "channels_last" in attributes and attributes["channels_last"].integer:
            obstacle = "convolutions with channels last are not read"
        if obstacle:
            raise Refused(Reason.UNSUPPORTED, f"the weight {name} cannot be read: {obstacle}", node.where)
        if len(constant.shape) < min(KERNEL_WEIGHT_RANKS):
            raise Refused(Reason.MALFORMED, f"a convolution weight of shape {constant.shape}", name)
        if len(constant.shape) in KERNEL_WEIGHT_RANKS:
            self._add(node, operator, constant, attributes, depth)

    def _add(
        self, node: Node, operator: Operator, constant: Constant, attributes: Mapping[str, Attribute], depth: int
    ) -> None:
        array, where = constant.array, ascii(constant.array.name)[:80]
        convolution = convolution_of(operator, attributes, constant.shape, depth, where)
        if constant.folded is not None:
            self._add_computed(constant, operator, convolution, where, node)
            return
        span = array.span
        if span is None or DTYPES[array.dtype].number_class is NumberClass.OTHER:
            raise Refused(Reason.UNSUPPORTED, f"a convolution weight of type {array.dtype}", where)
        if DTYPES[array.dtype].number_class is NumberClass.INTEGER and constant.dequantisation is None:
            raise Refused(Reason.UNSUPPORTED, f"a convolution weight of type {array.dtype} without a scale", where)
        self._check_side(span, where)
        self.read.add(array.offset)
        self.convolutions.tensors.append(
            Tensor(
                name=array.name or node.name,
                dtype=array.dtype,
                shape=constant.shape,
                span=span,
                layout=operator.layout,
                strides=constant.strides,
                quantisation=quantisation_of(constant, self.reader, where),
                convolution=convolution,
            )
        )

    def _add_computed(
        self, constant: Constant, operator: Operator, convolution: Convolution, where: str, node: Node
    ) -> None:
        """Add a weight that is stored packed, or computed from constants."""
        tensor = constant.operand(self.reader, where)
        if DTYPES[tensor.dtype].number_class is not NumberClass.FLOAT and tensor.quantisation is None:
            raise Refused(Reason.UNSUPPORTED, f"a convolution weight of type {tensor.dtype} without a scale", where)
        for stored in stored_tensors(tensor):
            self._check_side(stored.span, where)
        self.read.add(constant.array.offset)
        name = constant.array.name or node.name
        described = replace(tensor, name=name, layout=operator.layout, convolution=convolution, evidence=None)
        self.convolutions.tensors.append(described)

    def _check_side(self, span: Span, where: str) -> None:
        """Refused (malformed) if a side file is too short."""
        if span.side:
            with self.reader.file.beside(span.side) as side:
                if span.offset + span.length > side.size:
                    ends = f"the side file has {side.size} bytes, not {span.length} from byte {span.offset}"
                    raise Refused(Reason.MALFORMED, ends, where)


def _location(array: Array) -> tuple[int, int, bool] | None:
    """Offset and length of the array's bytes in the file, and whether they are varints; None if elsewhere."""
    if array.varints is not None:
        return (*array.varints, True)
    return None if array.span is None or array.span.side else (array.span.offset, array.span.length, False)


def _computed(inputs: Sequence[Value | None], entry: int) -> Value:
    """The value of an operation on these inputs."""
    known = [value for value in inputs if value is not None]
    live = [value.depth for value in known if value.live]
    depths = live or [value.depth for value in known]
    return Value(1 + max((entry, *depths)), bool(live))


def _deeper(frame: _Frame, node: Node) -> int:
    if frame.nesting >= MAX_NESTING:
        raise Refused(Reason.LIMIT, f"calls and bodies are nested deeper than {MAX_NESTING}", node.where)
    return frame.nesting + 1


def _refuse_if_it_reads_a_weight(node: Node, inputs: Sequence[Value | None]) -> None:
    for value in inputs:
        if value and value.constant and len(value.constant.shape) in KERNEL_WEIGHT_RANKS:
            operator = ascii(f"{node.domain}::{node.operator}")[:80]
            raise Refused(Reason.UNSUPPORTED, f"the layout of the weights of {operator} is not known", node.where)
