"""Traverses the graph of a torch.export program, to find the weight and depth of every convolution."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from filterzoo import DTYPES, Context, Convolution, Kind, Layout, NumberClass, Reason, Refused
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.pt2.archive import Program, dtype_of
from filterzoo_plugins.formats.pt2.arguments import Arguments, Value
from filterzoo_plugins.formats.pt2.folds import fold

MAX_NODES = 300_000

_FORWARD = re.compile(r"torch\.ops\.aten\.conv[123]d\.(default|padding)")
_TRANSPOSED = re.compile(r"torch\.ops\.aten\.conv_transpose[123]d\.(default|input)")
_ANY = re.compile(r"torch\.ops\.aten\._?convolution\.(default|deprecated)")
_UNKNOWN = re.compile(r"conv(?!ert)", re.IGNORECASE)
_NAMES = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
"""Kind of an input of the graph -> key of the stored tensor's name."""


class GraphWalk:
    """One traversal of one program. Afterwards, `convolutions` has the weight of each, `read` their names."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.convolutions = Convolutions()
        self.read = set[str]()
        self._values = dict[str, Value]()
        self._metas: Mapping[str, Any] = {}

    def run(self) -> None:
        """Traverse the graph; Refused if there is none, or a weight contradicts its operation or is not supported."""
        module = _mapping(self.program.document.get("graph_module"), "graph_module")
        graph = _mapping(module.get("graph"), "graph")
        self._metas = _mapping(graph.get("tensor_values"), "tensor_values")
        for spec in _list(_mapping(module.get("signature"), "signature").get("input_specs"), "input_specs"):
            self._input(_mapping(spec, "input_specs"))
        nodes = _list(graph.get("nodes"), "nodes")
        if len(nodes) > MAX_NODES:
            raise Refused(Reason.LIMIT, f"more than {MAX_NODES} nodes")
        for node in nodes:
            self._node(_mapping(node, "nodes"))

    def _input(self, spec: Mapping[str, Any]) -> None:
        """Add an input of the graph: a stored tensor, or an argument of the caller."""
        for kind, inner in spec.items():
            argument = inner.get("arg") if isinstance(inner, dict) else None
            names = list(_tensor_names(argument)) if kind not in _NAMES else [_text(argument, "name")]
            for name in names:
                self._values[name] = self._stored(_text(inner, _NAMES[kind])) if kind in _NAMES else Value(0, live=True)

    def _stored(self, name: str) -> Value:
        if name not in self.program.stored:
            return Value(0, live=False, name=name, obstacle="it is not in the archive")
        tensor = self.program.tensor(name)
        return Value(
            0, live=False, tensor=tensor, name=name, obstacle="" if tensor else "it is stored in a way of its own"
        )

    def _node(self, node: Mapping[str, Any]) -> None:
        target = node.get("target")
        where = show(str(node.get("name") or target))
        if not isinstance(target, str):
            raise Refused(Reason.MALFORMED, "a node without an operation", where)
        arguments = Arguments.of(node, self._argument)
        read = list(arguments.values())
        live = [value.depth for value in read if value.live]
        plain = Value(1 + max(live or [value.depth for value in read] or [0]), bool(live))
        outputs = list(_tensor_names(node.get("outputs")))
        if _FORWARD.fullmatch(target) or _TRANSPOSED.fullmatch(target) or _ANY.fullmatch(target):
            with self.convolutions.reading(where, plain.depth):
                self._convolution(target, arguments, plain.depth, where)
        elif _UNKNOWN.search(target.rpartition("ops.")[2]):
            with self.convolutions.reading(where, plain.depth):
                _refuse_if_it_reads_a_weight(target, read, where)
        elif _has_convolution(node.get("inputs")):
            raise Refused(Reason.UNSUPPORTED, "a convolution in the body of another operation", where)
        elif not live and len(outputs) == 1:
            plain = self._folded(target, arguments, outputs[0], plain)
        self._values.update(dict.fromkeys(outputs, plain))

    def _folded(self, target: str, arguments: Arguments, output: str, plain: Value) -> Value:
        """Fold an operation on constants."""
        read = list(arguments.values())
        main = max(read, key=lambda value: len(value.tensor.shape) if value.tensor else 0) if read else plain
        obstacle = next((value.obstacle for value in read if value.obstacle), "")
        if obstacle:
            return plain._replace(name=main.name, obstacle=obstacle)
        dtype = dtype_of(self._metas.get(output)) or ""
        try:
            return plain._replace(name=main.name, tensor=fold(target, arguments, dtype))
        except Unfoldable as error:
            return plain._replace(
                name=main.name, obstacle=f"it passes {show(target)}, which cannot be followed: {error}"
            )

    def _argument(self, name: str) -> Value:
        if name not in self._values:
            raise Refused(Reason.MALFORMED, "nothing before it gives a value that a node reads", show(name))
        return self._values[name]

    def _convolution(self, target: str, arguments: Arguments, depth: int, where: str) -> None:
        """Add a convolution's weight, unless it is computed at run time."""
        weight = arguments.value("weight")
        if weight is None:
            raise Refused(Reason.MALFORMED, "a convolution without a weight", where)
        if weight.live:
            return
        tensor = weight.tensor
        if tensor is None:
            reason = weight.obstacle or "it is no stored tensor"
            raise Refused(Reason.UNSUPPORTED, f"the weight {show(weight.name)} cannot be read: {reason}", where)
        number_class = DTYPES[tensor.dtype].number_class
        if number_class is not NumberClass.FLOAT and tensor.quantisation is None:
            raise Refused(Reason.UNSUPPORTED, f"a convolution weight of type {tensor.dtype} without a scale", where)
        is_transposed = bool(_TRANSPOSED.fullmatch(target)) or arguments.truth("transposed")
        convolution = _convolution_of(arguments, tensor.shape, depth, where, is_transposed=is_transposed)
        layout = Layout.IO_K if is_transposed else Layout.OI_K
        self.read.add(weight.name)
        described = replace(tensor, name=weight.name or where, layout=layout, convolution=convolution, evidence=None)
        self.convolutions.tensors.append(described)


def _convolution_of(
    arguments: Arguments, shape: tuple[int, ...], depth: int, where: str, *, is_transposed: bool
) -> Convolution:
    groups = arguments.integer("groups", 1)
    if not 3 <= len(shape) <= 5 or 0 in shape or groups < 1 or shape[0] % groups:
        raise Refused(Reason.MALFORMED, f"{groups} groups of a weight of shape {shape}", where)
    rank = len(shape) - 2
    stride, dilation = (_per_axis(arguments.integers(name, 1), rank) for name in ("stride", "dilation"))
    padding = _per_axis(arguments.integers("padding", 0), rank)
    if arguments.text("padding") == "valid":
        padding = (0,) * rank
    if (stride and min(stride) < 1) or (dilation and min(dilation) < 1):
        raise Refused(Reason.MALFORMED, f"stride {stride} or dilation {dilation} below 1", where)
    kind = Kind.CONV if groups == 1 else Kind.DEPTHWISE if shape[1] == 1 else Kind.GROUPED
    return Convolution(
        kind=Kind.TRANSPOSED if is_transposed else kind,
        context=Context.GRAPH,
        groups=groups,
        stride=stride,
        dilation=dilation,
        padding=padding and padding * 2,
        depth=depth,
    )


def _per_axis(numbers: list[int] | None, rank: int) -> tuple[int, ...] | None:
    if numbers is None or len(numbers) not in {1, rank}:
        return None
    return tuple(numbers) * rank if len(numbers) == 1 else tuple(numbers)


def _refuse_if_it_reads_a_weight(target: str, read: list[Value], where: str) -> None:
    if any(value.tensor is not None and 3 <= len(value.tensor.shape) <= 5 for value in read):
        raise Refused(Reason.UNSUPPORTED, f"the layout of the weights of {show(target)} is not known", where)


def _has_convolution(document: Any) -> bool:
    """Whether a graph among a node's arguments contains a convolution."""
    pending = [document]
    while pending:
        each = pending.pop()
        if isinstance(each, list):
            pending += each
        elif isinstance(each, dict):
            target = each.get("target")
            if isinstance(target, str) and _UNKNOWN.search(target.rpartition("ops.")[2]):
                return True
            pending += (value for key, value in each.items() if key != "metadata")
    return False


def _tensor_names(document: Any) -> Iterator[str]:
    """The names of the tensors in an argument, or in a list of arguments."""
    if isinstance(document, list):
        for one in document:
            yield from _tensor_names(one)
    elif isinstance(document, dict):
        if isinstance(document.get("name"), str) and set(document) <= {"name"}:
            yield document["name"]
            return
        for key in ("as_tensor", "as_tensors", "as_optional_tensor", "as_optional_tensors", "arg"):
            yield from _tensor_names(document.get(key))


def _mapping(document: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(document, dict):
        raise Refused(Reason.MALFORMED, "a torch.export program without a part of it", where)
    return document


def _list(document: Any, where: str) -> list[Any]:
    if not isinstance(document, list):
        raise Refused(Reason.MALFORMED, "a torch.export program without a part of it", where)
    return document


def _text(document: Any, key: str) -> str:
    value = document.get(key) if isinstance(document, dict) else None
    if not isinstance(value, str):
        raise Refused(Reason.MALFORMED, "a torch.export program with an input without a name", key)
    return value
