"""Traverses a TensorFlow graph and its functions, to find the weight of every convolution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from filterzoo import DTYPES, NumberClass, Reason, Refused, Tensor
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import WireReader
from filterzoo_plugins.formats.tensorflow.bundle import Bundle
from filterzoo_plugins.formats.tensorflow.convolution import (
    Operator,
    canonical_channels,
    convolution_of,
    has_channels_first,
    looks_like_convolution,
    operator_of,
)
from filterzoo_plugins.formats.tensorflow.document import Function, Model, Node
from filterzoo_plugins.formats.tensorflow.folds import SAME, fold
from filterzoo_plugins.formats.tensorflow.order import data_inputs, in_order, output_of, reached
from filterzoo_plugins.formats.tensorflow.values import Scope, Value, channels_of, constant, joined, kept_block

MAX_VISITS = 400_000
"""Most nodes that are visited; those of a function count once for each call."""
MAX_CALLS = 60
"""Most nested calls of functions."""
VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_ASSIGNMENTS = frozenset({"Assign", "AssignVariableOp"})
_CALLS = {
    "StatefulPartitionedCall": (("f",), 0),
    "PartitionedCall": (("f",), 0),
    "While": (("body",), 0),
    "StatelessWhile": (("body",), 0),
    "If": (("then_branch", "else_branch"), 1),
    "StatelessIf": (("then_branch", "else_branch"), 1),
    "Case": (("branches",), 1),
    "StatelessCase": (("branches",), 1),
}
"""Operation -> attributes that name functions, and the number of inputs before their arguments."""


class GraphWalk:
    """One traversal of one model. Afterwards, `convolutions` has the weight of each, `read` their names."""

    def __init__(self, model: Model, reader: WireReader, bundle: Bundle | None) -> None:
        self.model = model
        self.reader = reader
        self.bundle = bundle
        self.convolutions = Convolutions()
        self.read = set[str]()
        self._keys: dict[str, str] = {}
        self._called: dict[str, str] = {}
        self._named: dict[str, str] = {}
        self._declared: dict[str, tuple[object, ...]] = {}
        self._visits = 0
        self._is_restoring = False
        self._root = 0
        self._has_live = False
        self._found: dict[tuple[str, str], int] = {}

    def run(self) -> None:
        """Traverse the graph; Refused if edges form a cycle or name unknown nodes."""
        nodes = {node.name: node for node in self.model.nodes}
        if len(nodes) != len(self.model.nodes):
            raise Refused(Reason.UNSUPPORTED, "a TensorFlow graph with two nodes of one name")
        objects = self.bundle.objects() if self.bundle else []
        self._keys = {f"object {each.object}": each.key for each in objects}
        self._called = {each.key: each.name for each in objects if each.name}
        if self.model.restore:
            self._is_restoring = True
            self._walk(reached(nodes, [self.model.restore]), {}, 0)
            self._is_restoring = False
        scope: Scope = {}
        # Signatures share their layers: those of the first signature count.
        for outputs in self.model.outputs or [list(nodes)]:
            self._root += 1
            self._walk(reached(nodes, outputs), scope, 0)
        if not self.convolutions.are_any:
            self._functions_by_themselves()
        functions = self.model.functions.values()
        unreached = next((n.name for f in functions for n in f.nodes if operator_of(n) is not None), "")
        if unreached and not self.convolutions.are_any and not self._has_live:
            raise Refused(Reason.UNSUPPORTED, "convolutions that no signature of the model reaches", show(unreached))

    def _functions_by_themselves(self) -> None:
        """Traverse functions that no signature calls: their last arguments are objects of the checkpoint."""
        called = {
            name
            for function in self.model.functions.values()
            for node in function.nodes
            for name in _called_functions(node)
        }
        for name, bound in self.model.bound.items():
            function = self.model.functions.get(name)
            if function is None or name in called or len(bound) > len(function.arguments):
                continue
            self._root += 1
            given: list[Value] = [Value(live=True)] * (len(function.arguments) - len(bound))
            self._call(function, [*given, *(Value(variable=f"object {number}") for number in bound)], 0)

    def _walk(self, nodes: Sequence[Node], scope: Scope, calls: int) -> None:
        for node in in_order(nodes):
            self._visits += 1
            if self._visits > MAX_VISITS:
                raise Refused(Reason.LIMIT, f"more than {MAX_VISITS} operations, those of functions once a call")
            if node.name not in scope:
                inputs = [output_of(scope, spelled, node) for spelled in data_inputs(node, scope)]
                scope[node.name] = self._outputs(node, inputs, calls)

    def _outputs(self, node: Node, inputs: Sequence[Value], calls: int) -> list[Value]:
        functions = [
            function for name in _called_functions(node) if (function := self.model.functions.get(name)) is not None
        ]
        if node.operation in self.model.functions:
            functions = [self.model.functions[node.operation]]
        if functions:
            _, skipped = _CALLS.get(node.operation, ((), 0))
            branches = [self._call(function, inputs[skipped:], calls + 1) for function in functions]
            return [joined(values) for values in zip(*branches, strict=False)]
        if node.operation == "RestoreV2":
            return [Value(key=key) for key in self._texts(inputs)]
        if node.operation in _ASSIGNMENTS and len(inputs) > 1:
            if self._is_restoring and inputs[0].variable and inputs[1].key:
                self._keys.setdefault(inputs[0].variable, inputs[1].key)
            return [inputs[0]]
        return [self._node(node, inputs)]

    def _call(self, function: Function, arguments: Sequence[Value], calls: int) -> list[Value]:
        if calls > MAX_CALLS:
            raise Refused(
                Reason.LIMIT, f"functions that call each other more than {MAX_CALLS} deep", show(function.name)
            )
        values = [*arguments, *[Value(live=True)] * len(function.arguments)]
        scope: Scope = {name: [value] for name, value in zip(function.arguments, values, strict=False)}
        self._walk(function.nodes, scope, calls)
        return [output_of(scope, output, Node(function.name, "a function")) for output in function.outputs]

    def _node(self, node: Node, inputs: Sequence[Value]) -> Value:
        live = [value.depth for value in inputs if value.live]
        depth = 1 + max(live or [value.depth for value in inputs] or [-1])
        if node.operation in VARIABLES:
            shape = node.attributes.get("shape")
            self._declared[node.name] = shape if isinstance(shape, tuple) else ()
            return Value(variable=node.name)
        if node.operation == "Const":
            return constant(node)
        if not inputs:
            sides = node.integers("shape")
            return Value(0, live=True, channels=(sides[-1], False) if len(sides) > 3 and sides[-1] > 0 else None)
        plain = Value(depth, live=bool(live), channels=channels_of(node, inputs), block=kept_block(node, inputs))
        operator = operator_of(node)
        if operator is not None:
            with self.convolutions.reading(show(node.name), depth):
                return self._convolution(node, operator, inputs, plain)
        elif looks_like_convolution(node):
            with self.convolutions.reading(show(node.name), depth):
                self._refuse_if_it_reads_a_weight(node, inputs)
        elif node.operation == "SpaceToBatchND" and live:
            return replace(plain, block=self._block(inputs))
        elif not live:
            return self._folded(node, inputs, plain)
        return plain

    def _folded(self, node: Node, inputs: Sequence[Value], plain: Value) -> Value:
        """Fold an operation on constants."""
        if node.operation in SAME and (inputs[0].key or (inputs[0].variable and node.operation != "ReadVariableOp")):
            return replace(inputs[0], depth=plain.depth)
        try:
            return replace(plain, tensor=fold(node, _Operands(self, inputs)), block=None)
        except Unfoldable as error:
            passed = inputs[0].obstacle if len(inputs) == 1 else ""
            return replace(
                plain, obstacle=passed or f"it passes {show(node.operation)}, which cannot be followed: {error}"
            )
        except Refused as refusal:
            if refusal.reason not in {Reason.MALFORMED, Reason.UNSUPPORTED}:
                raise
            return replace(plain, obstacle=f"it passes {show(node.operation)}: {refusal.detail}")

    def tensor_of(self, value: Value) -> Tensor:
        """The value of a constant or a variable as a tensor; Unfoldable if it is not known."""
        if value.tensor is not None:
            return value.tensor
        if not value.variable:
            raise Unfoldable(value.obstacle or "it is no array")
        key = self._keys.get(value.variable, value.variable)
        entry = self.bundle.entries.get(key) if self.bundle else None
        if entry is None or self.bundle is None:
            raise Unfoldable("a variable that is not in the checkpoint")
        declared = self._declared.get(value.variable, ())
        if declared and -1 not in declared and declared != entry.shape:
            raise Unfoldable(f"a variable of shape {declared} that is {entry.shape} in the checkpoint"[:160])
        return self.bundle.tensor(entry, self._name(key, value.variable))

    def _name(self, key: str, variable: str) -> str:
        """A variable's name in TensorFlow, unless another weight has that name."""
        plain = key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
        name = self._called.get(key) or (plain if variable.startswith("object ") else variable)
        return name if self._named.setdefault(name, key) == key else plain

    def _convolution(self, node: Node, operator: Operator, inputs: Sequence[Value], plain: Value) -> Value:
        """Add a convolution's weight, unless it is computed at run time."""
        where = show(node.name)
        if self._is_restoring:
            return plain
        if len(inputs) <= max(operator.weight, operator.data):
            raise Refused(Reason.MALFORMED, "a convolution without a weight or an input", where)
        weight, data = inputs[operator.weight], inputs[operator.data]
        if weight.live:
            self._has_live = True
            return plain
        try:
            tensor = self.tensor_of(weight)
        except Unfoldable as error:
            raise Refused(Reason.UNSUPPORTED, f"a weight that cannot be read: {error}", where) from error
        is_first = has_channels_first(node)
        channels = data.channels[0] if data.channels and data.channels[1] == is_first else None
        described = convolution_of(node, operator, tensor.shape, channels, data.block, depth=plain.depth)
        if DTYPES[tensor.dtype].number_class is not NumberClass.FLOAT:
            raise Refused(Reason.UNSUPPORTED, f"a weight of type {tensor.dtype} without a scale", where)
        self.read.add(tensor.name)
        # It may be the same operation in another signature, or in another trace of the same function.
        first = self._found.setdefault((tensor.name, str(operator.layout)), self._root)
        if first == self._root:
            self.convolutions.tensors.append(
                replace(tensor, layout=operator.layout, convolution=described, evidence=None)
            )
        outputs = canonical_channels(operator, tensor.shape)
        return replace(plain, channels=(outputs, is_first))

    def _refuse_if_it_reads_a_weight(self, node: Node, inputs: Sequence[Value]) -> None:
        for value in inputs:
            if value.live or self._is_restoring:
                continue
            try:
                rank = len(self.tensor_of(value).shape)
            except Unfoldable:
                continue
            if 3 <= rank <= 5:
                detail = f"the layout of the weights of {show(node.operation)} is not known"
                raise Refused(Reason.UNSUPPORTED, detail, show(node.name))

    def _block(self, inputs: Sequence[Value]) -> tuple[int, ...]:
        try:
            return tuple(_Operands(self, inputs).integers(1))
        except Unfoldable:
            return ()

    def _texts(self, inputs: Sequence[Value]) -> list[str]:
        """The keys that RestoreV2 loads."""
        numbers = inputs[1].stated if len(inputs) > 1 else None
        if numbers is None:
            return []
        return [self.reader.text(offset, length) for offset, length in numbers.texts]


@dataclass(frozen=True, slots=True)
class _Operands:
    walk: GraphWalk
    values: Sequence[Value]

    def __len__(self) -> int:
        return len(self.values)

    def tensor(self, place: int) -> Tensor:
        return self.walk.tensor_of(self._value(place))

    def integers(self, place: int) -> list[int]:
        stated = self._value(place).stated
        if stated is None:
            raise Unfoldable("a shape or axes that the graph does not state")
        return stated.integers(self.walk.reader)

    def _value(self, place: int) -> Value:
        if place >= len(self.values):
            raise Unfoldable("an input is missing")
        return self.values[place]


def _called_functions(node: Node) -> Iterable[str]:
    keys, _ = _CALLS.get(node.operation, ((), 0))
    for key in keys:
        value = node.attributes.get(key)
        if isinstance(value, str):
            yield value
        elif isinstance(value, tuple):
            yield from (name for name in value if isinstance(name, str))
