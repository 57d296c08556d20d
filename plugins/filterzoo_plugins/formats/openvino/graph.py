"""Traverses the graph of an OpenVINO network, to find the weight and depth of every convolution."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from filterzoo import DTYPES, NumberClass, Reason, Refused, Span
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.openvino.constant import Value, WeightsFile, constant
from filterzoo_plugins.formats.openvino.convolution import (
    Operator,
    convolution_of,
    joined_shape,
    looks_like_convolution,
    operator_of,
)
from filterzoo_plugins.formats.openvino.document import LayerEntry
from filterzoo_plugins.formats.openvino.folds import RESHAPES, element_of, fold, reshaped

_CONST = "Const"
_LIVE = frozenset({"Parameter", "ReadValue"})
"""Operations that depend on the run: inputs, and state of the last run."""
_MAX_LIST = 512
"""Most bytes of a list of axes or sides."""


class GraphWalk:
    """One traversal of one network. Afterwards, `convolutions` has the weight of each, `read` their ids."""

    def __init__(self, layers: Sequence[LayerEntry], weights: WeightsFile) -> None:
        self.layers = {layer.id: layer for layer in layers}
        self.weights = weights
        self.convolutions = Convolutions()
        self.read = set[str]()
        self._values = dict[str, Value]()

    def run(self) -> None:
        """Traverse the graph; Refused if edges form a cycle, or constants are outside the weights file."""
        for layer in self.layers.values():
            if layer.type == _CONST:
                self._values[layer.id] = constant(layer, self.weights.span(layer))
        self.weights.will_read(list(self._lists()))
        for layer in _in_order(self.layers):
            if layer.type != _CONST:
                self._values[layer.id] = self._layer(layer)

    def _lists(self) -> Iterator[Span]:
        """The byte ranges of the axes and shapes that will be read."""
        for layer in self.layers.values():
            value = self._values.get(layer.input(1) or "")
            span = value.tensor.span if value is not None and value.tensor is not None else Span(0, 0)
            if layer.type in RESHAPES and 0 < span.length <= _MAX_LIST:
                yield span

    def _layer(self, layer: LayerEntry) -> Value:
        """The value of a layer's outputs."""
        inputs = [self._values[layer.inputs[port]] for port in sorted(layer.inputs)]
        live = [value.depth for value in inputs if value.live]
        plain = Value(1 + max(live or [value.depth for value in inputs] or [-1]), live=bool(live))
        if layer.type in _LIVE:
            return plain._replace(live=True)
        for type_ in filter(looks_like_convolution, layer.inner):
            with self.convolutions.reading(show(layer.name), plain.depth):
                detail = f"a {show(type_)} in the body of another operation"
                raise Refused(Reason.UNSUPPORTED, detail, show(layer.name))
        operator = operator_of(layer)
        if operator is not None:
            with self.convolutions.reading(show(layer.name), plain.depth):
                self._convolution(layer, operator, plain.depth)
        elif looks_like_convolution(layer.type):
            with self.convolutions.reading(show(layer.name), plain.depth):
                _refuse_if_it_reads_a_weight(layer, inputs)
        elif not live:
            return self._folded(layer, inputs, plain)
        return plain

    def _folded(self, layer: LayerEntry, inputs: Sequence[Value], plain: Value) -> Value:
        """Fold an operation on constants."""
        main = max(inputs, key=lambda value: prod(value.tensor.shape) if value.tensor else 0, default=plain)
        plain = plain._replace(source=main.source, element=element_of(layer, inputs))
        obstacle = next((value.obstacle for value in inputs if value.obstacle), "")
        if obstacle:
            return plain._replace(obstacle=obstacle)
        try:
            return plain._replace(tensor=fold(layer, inputs, self.weights))
        except Unfoldable as error:
            return plain._replace(obstacle=f"it passes {show(layer.type)}, which cannot be followed: {error}")
        except Refused as refusal:
            if refusal.reason is not Reason.MALFORMED:
                raise
            return plain._replace(obstacle=f"it passes {show(layer.type)}: {refusal.detail}")

    def _convolution(self, layer: LayerEntry, operator: Operator, depth: int) -> None:
        """Add a convolution's weight, unless it is computed at run time."""
        where = show(layer.name)
        if layer.input(operator.weight) is None or layer.input(0) is None:
            raise Refused(Reason.MALFORMED, "a convolution without a weight or an input", where)
        value = self._values[layer.inputs[operator.weight]]
        if value.live:
            return
        try:
            tensor = value.numbers()
            shape = tensor.shape
            described = convolution_of(layer, operator, shape, depth)
            tensor = reshaped(tensor, joined_shape(operator, shape, where))
        except Unfoldable as error:
            raise Refused(Reason.UNSUPPORTED, f"a weight that cannot be read: {error}", where) from error
        number_class = DTYPES[tensor.dtype].number_class
        if number_class is NumberClass.OTHER or (number_class is NumberClass.INTEGER and tensor.quantisation is None):
            raise Refused(Reason.UNSUPPORTED, f"a weight of type {tensor.dtype} without a scale", where)
        self.read.add(value.source)
        name = self.layers[value.source].name if value.source in self.layers else tensor.name
        self.convolutions.tensors.append(
            replace(tensor, name=name, layout=operator.layout, convolution=described, evidence=None)
        )


def _in_order(layers: dict[str, LayerEntry]) -> Iterator[LayerEntry]:
    """Each layer after those it reads, otherwise in file order; Refused if edges form a cycle."""
    places = {number: place for place, number in enumerate(layers)}
    missing = {number: len(layer.inputs) for number, layer in layers.items()}
    readers: dict[str, list[str]] = {number: [] for number in layers}
    for number, layer in layers.items():
        for origin in layer.inputs.values():
            readers[origin].append(number)
    ready = [(place, number) for number, place in places.items() if not missing[number]]
    heapq.heapify(ready)
    count = 0
    while ready:
        _, number = heapq.heappop(ready)
        count += 1
        yield layers[number]
        for reader in readers[number]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, (places[reader], reader))
    if count != len(layers):
        first = next(number for number, left in missing.items() if left)
        raise Refused(Reason.MALFORMED, "layers that read one another in a circle", show(layers[first].name))


def _refuse_if_it_reads_a_weight(layer: LayerEntry, inputs: Sequence[Value]) -> None:
    if any(not value.live and value.tensor is not None and 3 <= len(value.tensor.shape) <= 6 for value in inputs):
        detail = f"the layout of the weights of {show(layer.type)} is not known"
        raise Refused(Reason.UNSUPPORTED, detail, show(layer.name))
