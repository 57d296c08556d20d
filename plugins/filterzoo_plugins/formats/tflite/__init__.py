"""TFLite files: the weights that convolutions of the graph read, with the scales of quantised ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

from filterzoo import FileFacts, Format, Layout, LeftOut, RandomAccessFile, Tensor, hookimpl
from filterzoo_plugins.encodings.flatbuffer import FlatBuffer
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.formats.tflite.graph import GraphWalk
from filterzoo_plugins.formats.tflite.model import TensorEntry, read_licence, read_subgraphs

_IDENTIFIER = b"TFL3"
_MAX_LICENCE_TEXT = 10_000


class TFLite(Format):
    """TensorFlow Lite models: CONV_2D, DEPTHWISE_CONV_2D, TRANSPOSE_CONV and the 3-D ones, in every subgraph.

    A weight may be sparse, have 4 bits, or be computed from constants by a closed set of operators (`folds`). A weight
    that depends on an input is not a layer; a weight that is computed in any other way is left out as unsupported.
    """

    name: ClassVar[str] = "tflite"
    framework: ClassVar[str | None] = "tflite"
    is_graph: ClassVar[bool] = True

    def accepts(self, head: bytes, name: str) -> bool:
        """By the identifier after the offset of the root table."""
        del name
        return head[4:8] == _IDENTIFIER

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of convolutions, in operator order; then the other stored tensors."""
        subgraphs = read_subgraphs(FlatBuffer(file))
        walk = GraphWalk(subgraphs)
        walk.run()
        yield from walk.convolutions.found()
        for graph in subgraphs:
            yield from (listed for tensor in graph.tensors for listed in _unread(tensor, walk.read))

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every stored tensor of every subgraph, as stored."""
        entries = (entry for graph in read_subgraphs(FlatBuffer(file)) for entry in graph.tensors if entry.span)
        for entry in entries:
            with contextlib.suppress(Unfoldable):  # strings and other types are not arrays
                yield entry.tensor()

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """The licence stated in the model's metadata."""
        licence = read_licence(FlatBuffer(file))
        return FileFacts(framework=self.framework, licence=licence and licence[:_MAX_LICENCE_TEXT])


def _unread(tensor: TensorEntry, read: set[int]) -> Iterator[Tensor]:
    """The listed form of a stored tensor; bytes for types smaller than a byte."""
    span = tensor.span
    if span is None or tensor.table.position in read:
        return
    plain = not tensor.obstacle and tensor.packed is None
    yield Tensor(
        name=tensor.name,
        dtype=tensor.dtype if plain else "U8",
        shape=tensor.shape if plain else (span.length,),
        span=span,
        layout=Layout.OTHER,
    )


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The TFLite format."""
    return [TFLite()]
