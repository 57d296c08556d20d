"""OpenVINO networks (.xml): the weights that convolutions of the graph read, in the .bin side file."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import ClassVar

from filterzoo import Format, LeftOut, RandomAccessFile, Reason, Refused, Tensor, hookimpl
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.openvino.constant import WeightsFile, listed
from filterzoo_plugins.formats.openvino.document import LayerEntry, read_layers
from filterzoo_plugins.formats.openvino.graph import GraphWalk

_NETWORK = re.compile(rb"<net\s[^<>]*\b(version|name)\s*=")
_BLANKS = b"\xef\xbb\xbf \t\r\n"
_ENDING = ".xml"


class OpenVino(Format):
    """OpenVINO's intermediate representation, versions 10 and 11: Convolution, GroupConvolution, their BackpropData.

    A weight may be computed from constants by a closed set of operations (`folds`): the decompression of float16 and
    of integers of 8 and 4 bits. The weights are in the file of the same name with the ending `.bin`.
    """

    name: ClassVar[str] = "openvino"
    framework: ClassVar[str | None] = "openvino"
    is_graph: ClassVar[bool] = True
    _called: str = ""

    def accepts(self, head: bytes, name: str) -> bool:
        """By an XML root `net`. The name also determines that of the weights."""
        self._called = name
        return head.lstrip(_BLANKS)[:1] == b"<" and _NETWORK.search(head) is not None

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of convolutions, in layer order; then the other constants."""
        layers = read_layers(file)
        with self._weights(file) as weights:
            walk = GraphWalk(layers, weights)
            walk.run()
            yield from walk.convolutions.found()
            yield from (listed(layer, weights.span(layer)) for layer in _constants(layers) if layer.id not in walk.read)

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every constant as stored."""
        layers = read_layers(file)
        with self._weights(file) as weights:
            yield from (listed(layer, weights.span(layer)) for layer in _constants(layers))

    def _weights(self, file: RandomAccessFile) -> contextlib.closing[WeightsFile]:
        name = self._called.rpartition("/")[2]
        if not name.lower().endswith(_ENDING):
            detail = "the weights of an OpenVINO network are found by its name, which must end with .xml"
            raise Refused(Reason.UNSUPPORTED, detail, show(name))
        return contextlib.closing(WeightsFile(file, name[: -len(_ENDING)] + ".bin"))


def _constants(layers: list[LayerEntry]) -> Iterator[LayerEntry]:
    return (layer for layer in layers if layer.type == "Const")


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The OpenVINO format."""
    return [OpenVino()]
