"""TensorFlow graphs: SavedModels with their variables, and frozen graphs, whose variables are constants."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

from filterzoo import Format, LeftOut, RandomAccessFile, Tensor
from filterzoo_plugins.encodings.folding import Unfoldable
from filterzoo_plugins.encodings.protobuf import WireReader
from filterzoo_plugins.formats.tensorflow.bundle import ENDING, Bundle
from filterzoo_plugins.formats.tensorflow.document import Model, ModelReader
from filterzoo_plugins.formats.tensorflow.graph import VARIABLES, GraphWalk
from filterzoo_plugins.formats.tensorflow.heads import is_graph, is_saved_model
from filterzoo_plugins.formats.tensorflow.types import STRING, StoredConstant

_FILE = "saved_model.pb"
_CORE_ML = ".mlmodel"
_VARIABLES = "variables/variables"
"""The path of a SavedModel's checkpoint, relative to its `saved_model.pb`."""


class TensorFlowGraph(Format):
    """A SavedModel (`saved_model.pb` with `variables/`) or a frozen graph (`.pb`).

    Reads Conv2D, Conv3D, DepthwiseConv2dNative and the BackpropInput operations that are transposed convolutions, in
    the graph that the signatures reach and in the functions it calls.
    """

    name: ClassVar[str] = "tensorflow_graph"
    framework: ClassVar[str | None] = "tensorflow"
    is_graph: ClassVar[bool] = True
    _is_frozen: bool = False

    def accepts(self, head: bytes, name: str) -> bool:
        """By the first fields of the message; the name distinguishes old Core ML models, which start alike."""
        self._is_frozen = is_graph(head)
        return self._is_frozen or (is_saved_model(head) and not name.lower().endswith(_CORE_ML))

    def includes(self, name: str, other: str) -> bool:
        """Whether it is the checkpoint of the SavedModel."""
        folder, _, file = name.rpartition("/")
        return file == _FILE and other == (f"{folder}/{_VARIABLES}" if folder else _VARIABLES) + ENDING

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of convolutions, in node order; then the other variables and constants."""
        reader = WireReader(file)
        with self._opened(reader) as (model, bundle):
            walk = GraphWalk(model, reader, bundle)
            walk.run()
            yield from walk.convolutions.found()
            for tensor in _stored(model, bundle):
                if tensor.name not in walk.read:
                    yield tensor

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every variable, by its key in the checkpoint, and every constant of the graph."""
        reader = WireReader(file)
        with self._opened(reader) as (model, bundle):
            yield from _stored(model, bundle)

    @contextlib.contextmanager
    def _opened(self, reader: WireReader) -> Iterator[tuple[Model, Bundle | None]]:
        """The graph and its variables."""
        models = ModelReader(reader)
        if self._is_frozen:
            yield models.graph(), None
            return
        model = models.saved_model()
        if not any(node.operation in VARIABLES for node in model.nodes):
            yield model, None
            return
        with (
            contextlib.closing(reader.file.beside(_VARIABLES + ENDING)) as index,
            contextlib.closing(Bundle(reader.file, index, _VARIABLES)) as bundle,
        ):
            bundle.read()
            yield model, bundle


def _stored(model: Model, bundle: Bundle | None) -> Iterator[Tensor]:
    """All stored arrays, variables first, each once."""
    if bundle is not None:
        for entry in bundle.entries.values():
            if not entry.is_sliced:
                yield bundle.tensor(entry, entry.key)
    for nodes in (model.nodes, *(function.nodes for function in model.functions.values())):
        for node in nodes:
            numbers = node.attributes.get("value")
            if isinstance(numbers, StoredConstant) and numbers.type != STRING:
                with contextlib.suppress(Unfoldable):
                    yield numbers.tensor()
