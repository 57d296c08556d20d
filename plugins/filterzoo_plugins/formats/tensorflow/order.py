"""The order in which a TensorFlow graph's operations are visited, and the names of their inputs."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.tensorflow.document import Node
from filterzoo_plugins.formats.tensorflow.values import Scope, Value


def data_inputs(node: Node, scope: Scope) -> list[str]:
    """A node's data inputs: without control inputs and, at the start of a loop, without the back edge."""
    names = [reference for reference in node.inputs if not reference.startswith("^")]
    return [name for name in names if name.partition(":")[0] in scope] if node.operation == "Merge" else names


def output_of(scope: Scope, reference: str, reader: Node) -> Value:
    """The value named `name`, `name:number`, or in functions `name:output:number`."""
    name, _, place = reference.partition(":")
    number = place.rpartition(":")[2]
    outputs = scope.get(name)
    if outputs is None:
        raise Refused(Reason.MALFORMED, f"it reads {show(reference)!r}, which is not there", show(reader.name))
    at = int(number) if number.isascii() and number.isdigit() and len(number) < 9 else 0
    if not outputs:
        return Value(live=True)
    return outputs[at] if at < len(outputs) else outputs[0]


def _origins(node: Node) -> list[str]:
    return [reference.lstrip("^").partition(":")[0] for reference in node.inputs]


def reached(nodes: Mapping[str, Node], names: Sequence[str]) -> list[Node]:
    """The nodes that these names depend on, in file order."""
    pending = [name.lstrip("^").partition(":")[0] for name in names]
    reached: set[str] = set()
    while pending:
        name = pending.pop()
        if name not in reached and name in nodes:
            reached.add(name)
            pending += _origins(nodes[name])
    return [node for name, node in nodes.items() if name in reached]


def in_order(nodes: Sequence[Node]) -> Iterator[Node]:
    """The nodes in topological order; back edges of loops are cut. Refused if edges form a cycle."""
    places = {node.name: place for place, node in enumerate(nodes)}
    if len(places) != len(nodes):
        raise Refused(Reason.UNSUPPORTED, "a TensorFlow graph with two nodes of one name")
    missing = [0] * len(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for place, node in enumerate(nodes):
        for name in set(_origins(node)):
            origin = places.get(name)
            if origin is not None and not (node.operation == "Merge" and nodes[origin].operation == "NextIteration"):
                missing[place] += 1
                readers[origin].append(place)
    ready = [place for place, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    count = 0
    while ready:
        place = heapq.heappop(ready)
        count += 1
        yield nodes[place]
        for reader in readers[place]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if count != len(nodes):
        first = next(place for place, left in enumerate(missing) if left)
        raise Refused(Reason.MALFORMED, "operations that read one another in a circle", show(nodes[first].name))
