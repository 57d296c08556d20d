"""Sorts nodes topologically: ONNX requires this order, but some tools do not write it, and onnxruntime sorts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filterzoo_plugins.formats.onnx.model import Graph, Node


def in_order(nodes: Sequence[Node]) -> Sequence[Node]:
    """The same nodes, each after those whose outputs it reads, otherwise in their order.

    Nodes in a cycle keep their order; the traversal then reports the missing values.
    """
    maker = {name: place for place, node in enumerate(nodes) for name in node.outputs if name}
    if all(maker.get(name, -1) < place for place, node in enumerate(nodes) for name in _needs(node)):
        return nodes
    done, waiting = set[int](), set[int]()
    order: list[Node] = []
    for start in range(len(nodes)):
        pending = [start]
        while pending:
            place = pending[-1]
            first = [maker[name] for name in _needs(nodes[place]) if name in maker]
            missing = [other for other in first if other not in done and other not in waiting]
            if missing and place not in done:
                waiting.add(place)
                pending += reversed(missing)
                continue
            pending.pop()
            if place not in done:
                done.add(place)
                order.append(nodes[place])
    return order


def _needs(node: Node) -> Iterator[str]:
    """Names that a node reads, including those in its subgraphs."""
    yield from node.inputs
    for attribute in node.attributes.values():
        for graph in attribute.graphs:
            yield from _needs_of_graph(graph)


def _needs_of_graph(graph: Graph) -> Iterator[str]:
    inside = {*graph.inputs, *(array.name for array in graph.initializers)}
    inside.update(name for node in graph.nodes for name in node.outputs)
    for node in graph.nodes:
        yield from (name for name in _needs(node) if name not in inside)
    yield from (name for name in graph.outputs if name not in inside)
