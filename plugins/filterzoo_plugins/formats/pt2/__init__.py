"""torch.export archives (.pt2), old and current: the weights that convolutions of the graph read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from filterzoo import Format, LeftOut, RandomAccessFile, Tensor, hookimpl
from filterzoo_plugins.encodings.zip_head import member_names
from filterzoo_plugins.formats.pt2.archive import Program, read_program
from filterzoo_plugins.formats.pt2.graph import GraphWalk

_CURRENT = re.compile(
    rb"[^/\0]+/(archive_format|data/(weights|constants|sample_inputs|aotinductor)/.*|models/.*\.json)", re.DOTALL
)
_OLD = re.compile(rb"serialized_(exported_program\.json|state_dict\.(pt|json)|constants\.(pt|json)|example_inputs\.pt)")


class Pt2(Format):
    """Programs written by torch.export.save: names, shapes and strides are in the JSON, operations in the graph.

    A weight may be computed from constants by a closed set of operations (`folds`). Compiled packages without a graph
    (AOTInductor) are refused as unsupported.
    """

    name: ClassVar[str] = "pt2"
    framework: ClassVar[str | None] = "torch"
    is_graph: ClassVar[bool] = True

    def accepts(self, head: bytes, name: str) -> bool:
        """By a zip whose first members are those of torch.export.save."""
        del name
        first = member_names(head)
        return any(_CURRENT.fullmatch(member) or _OLD.fullmatch(member) for member in first)

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of convolutions, in node order; then the other tensors."""
        program = read_program(file)
        walk = GraphWalk(program)
        walk.run()
        yield from walk.convolutions.found()
        yield from (tensor for name, tensor in _stored(program) if name not in walk.read)

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every parameter, buffer and constant."""
        yield from (tensor for _, tensor in _stored(read_program(file)))


def _stored(program: Program) -> Iterator[tuple[str, Tensor]]:
    for name in program.stored:
        tensor = program.tensor(name)
        if tensor is not None:
            yield name, tensor


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The torch.export format."""
    return [Pt2()]
