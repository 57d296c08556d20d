"""Traverses the graph of a TFLite model from its inputs, to find the weight and depth of every convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from filterzoo import DTYPES, NumberClass, Reason, Refused
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.flatbuffer import Table
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.formats.tflite.folds import FOLDS, Constant, fold
from filterzoo_plugins.formats.tflite.model import OperatorEntry, Subgraph
from filterzoo_plugins.formats.tflite.operators import (
    CONVOLUTIONS,
    Operator,
    convolution_of,
    looks_like_convolution,
)

MAX_NESTING = 32
"""Most levels of nested bodies."""
MAX_STEPS = 100_000
"""Most operators that are visited; those of a body count once for each node that runs it."""
KERNEL_WEIGHT_RANKS = (3, 4, 5)
"""Ranks of weights with 1-D, 2-D and 3-D kernels."""

_IF, _WHILE, _CALL, _CALL_ONCE, _COMPOSITE = 118, 119, 31, 129, 206
_BODY_SLOTS = {_IF: (0, 1), _WHILE: (0, 1), _CALL: (0,), _CALL_ONCE: (0,), _COMPOSITE: (1,)}
"""Option slots of the operators with bodies."""


class Value(NamedTuple):
    """Facts about a tensor: depth (docs/measures.md, 2), whether it depends on an input, its value if constant."""

    depth: int
    live: bool
    constant: Constant | None = None


@dataclass(frozen=True, slots=True)
class _Frame:
    """One visit of a subgraph: the values so far, its starting depth, the enclosing subgraphs."""

    graph: Subgraph
    values: dict[int, Value]
    not_computed: set[int]
    entry: int = 0
    around: tuple[int, ...] = field(default=())

    def value(self, index: int) -> Value:
        """The value of the tensor at `index`; a tensor that no operator writes is a constant, a variable or empty."""
        if index not in self.values:
            if index in self.not_computed:
                raise Refused(Reason.MALFORMED, "an operator reads what a later one writes", f"tensor {index}")
            tensor = self.graph.tensors[index]
            self.values[index] = Value(0, tensor.is_variable, Constant(tensor) if tensor.span else None)
        return self.values[index]


class GraphWalk:
    """One traversal of one model. Afterwards, `convolutions` has the weight of each, in operator order."""

    def __init__(self, subgraphs: Sequence[Subgraph]) -> None:
        self.subgraphs = subgraphs
        self.convolutions = Convolutions()
        self.read = set[int]()
        """Table offsets of the tensors that are weights of convolutions."""
        self._steps = 0

    def run(self) -> None:
        """Traverse every graph that no other graph runs; Refused if a weight contradicts its operator."""
        bodies = {body for graph in self.subgraphs for entry in graph.operators for body in self._bodies(entry)}
        for number, graph in enumerate(self.subgraphs):
            if number == 0 or number not in bodies:
                self._graph(number, [Value(0, live=True)] * len(graph.inputs), 0, ())

    def _graph(self, number: int, inputs: Sequence[Value], entry: int, around: tuple[int, ...]) -> list[Value]:
        """Traverse one subgraph; returns the values of its outputs."""
        if number in around or len(around) > MAX_NESTING:
            reason = Reason.MALFORMED if number in around else Reason.LIMIT
            raise Refused(reason, "subgraphs run one another in a circle, or too deep", f"subgraph {number}")
        graph = self.subgraphs[number]
        not_computed = {index for operator in graph.operators for index in operator.outputs}
        frame = _Frame(graph, dict(zip(graph.inputs, inputs, strict=False)), not_computed, entry, (*around, number))
        for operator in graph.operators:
            self._steps += 1
            if self._steps > MAX_STEPS:
                raise Refused(Reason.LIMIT, f"more than {MAX_STEPS} operators, bodies unrolled")
            arguments = [frame.value(index) if index >= 0 else None for index in operator.inputs]
            for index, value in zip(operator.outputs, self._operator(operator, arguments, frame), strict=False):
                frame.values[index] = value
        return [frame.value(index) for index in graph.outputs]

    def _operator(self, entry: OperatorEntry, inputs: list[Value | None], frame: _Frame) -> list[Value]:
        """The values of an operator's outputs."""
        known = [value for value in inputs if value is not None]
        live = [value.depth for value in known if value.live]
        plain = Value(1 + max((frame.entry, *(live or [value.depth for value in known]))), bool(live))
        bodies = self._bodies(entry)
        if bodies:
            return self._run_bodies(entry, bodies, known, plain, frame)
        if entry.code in CONVOLUTIONS:
            with self.convolutions.reading(f"operator {entry.code}", plain.depth):
                self._convolution(entry, CONVOLUTIONS[entry.code], plain.depth, frame)
        elif entry.code in FOLDS and known and not plain.live and entry.outputs:
            constants = [value.constant if value else None for value in inputs]
            return [plain._replace(constant=fold(entry, constants, frame.graph.tensors[entry.outputs[0]]))]
        elif looks_like_convolution(entry):
            with self.convolutions.reading(f"operator {entry.code}", plain.depth):
                _refuse_if_it_reads_a_weight(entry, known)
        return [plain] * len(entry.outputs)

    def _bodies(self, entry: OperatorEntry) -> list[int]:
        slots = _BODY_SLOTS.get(entry.code, ())
        options: Table | None = entry.options_2 if entry.code == _COMPOSITE else entry.options
        bodies = [options.integer(slot, "i") for slot in slots] if options else []
        if any(not 0 <= body < len(self.subgraphs) for body in bodies):
            raise Refused(Reason.MALFORMED, f"subgraphs {bodies} of {len(self.subgraphs)}")
        return bodies

    def _run_bodies(
        self, entry: OperatorEntry, bodies: list[int], inputs: list[Value], plain: Value, frame: _Frame
    ) -> list[Value]:
        """Traverse the bodies of a node in its place; values that a While changes are computed at run time."""
        passed = inputs[1:] if entry.code == _IF else inputs
        outputs = [plain] * len(entry.outputs)
        for place, body in enumerate(bodies):
            arguments = [self._body_argument(entry, bodies, position, value) for position, value in enumerate(passed)]
            values = self._graph(body, arguments, plain.depth - 1, frame.around)
            # The first body of a While is the condition.
            if entry.code != _WHILE or place == 1:
                outputs = [_joined(old, new) for old, new in zip(outputs, values, strict=False)]
        return outputs

    def _body_argument(self, entry: OperatorEntry, bodies: list[int], position: int, value: Value) -> Value:
        if entry.code != _WHILE:
            return value
        body = self.subgraphs[bodies[1]]
        kept = body.inputs[position : position + 1] == body.outputs[position : position + 1]
        return value if kept else Value(value.depth, live=True)

    def _convolution(self, entry: OperatorEntry, operator: Operator, depth: int, frame: _Frame) -> None:
        """Add a convolution's weight, unless it is computed at run time."""
        if len(entry.inputs) <= max(operator.weight, operator.data) or entry.inputs[operator.weight] < 0:
            raise Refused(Reason.MALFORMED, "a convolution without a weight")
        index = entry.inputs[operator.weight]
        value, tensor = frame.value(index), frame.graph.tensors[index]
        if value.live:
            return
        where = ascii(tensor.name)[:80]
        if value.constant is None:
            raise Refused(Reason.UNSUPPORTED, "a weight that is computed from constants, not stored", where)
        try:
            weight = value.constant.tensor()
        except Unfoldable as error:
            raise Refused(Reason.UNSUPPORTED, f"a weight that cannot be read: {error}", where) from error
        number_class = DTYPES[weight.dtype].number_class
        is_bare = number_class is NumberClass.INTEGER and weight.quantisation is None
        if number_class is NumberClass.OTHER or is_bare:
            raise Refused(Reason.UNSUPPORTED, f"a weight of type {weight.dtype} without a scale", where)
        data = entry.inputs[operator.data]
        channels = frame.graph.tensors[data].shape[-1:] if data >= 0 else ()
        known = channels[0] if channels and channels[0] > 0 else None
        convolution = convolution_of(operator, entry, weight.shape, known, depth=depth, where=where)
        self.read.add(value.constant.entry.table.position)
        self.convolutions.tensors.append(
            replace(weight, layout=operator.layout, convolution=convolution, evidence=None)
        )


def _joined(old: Value, new: Value) -> Value:
    """The output of a node with bodies: as deep as the deepest body, and computed at run time."""
    return Value(max(old.depth, new.depth), live=True)


def _refuse_if_it_reads_a_weight(entry: OperatorEntry, inputs: Sequence[Value]) -> None:
    if any(value.constant and len(value.constant.entry.shape) in KERNEL_WEIGHT_RANKS for value in inputs):
        name = ascii(entry.custom)[:80] if entry.custom else f"operator {entry.code}"
        raise Refused(Reason.UNSUPPORTED, f"the layout of the weights of {name} is not known")
