"""Caffe networks (.caffemodel): layers with weights, in the V1 and the current schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from filterzoo import Format, Layout, LeftOut, RandomAccessFile, Reason, Refused, Tensor, hookimpl
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import WireReader, first_fields
from filterzoo_plugins.formats.caffe.convolution import convolution_of, is_transposed, looks_like_convolution
from filterzoo_plugins.formats.caffe.document import LayerParameter, read_layers

_FIELDS = frozenset({2, 3, 4, 5, 6, 7, 8, 100})
_LONGEST_NAME = 256
_ENDING = ".caffemodel"


class Caffe(Format):
    """A NetParameter with weights: Convolution and Deconvolution, and the depthwise layers of forks."""

    name: ClassVar[str] = "caffe"
    framework: ClassVar[str | None] = "caffe"
    is_graph: ClassVar[bool] = True

    def accepts(self, head: bytes, name: str) -> bool:
        """By a name and then layers; or layers alone, if the first layer or the file's name confirms it."""
        fields = first_fields(head)
        if not fields or fields[0][0] & 7 != 2:
            return False
        number, content = fields[0][0] >> 3, fields[0][2]
        if number == 1:
            tags = {tag >> 3 for tag, _, _ in fields[1:]}
            return _is_text(content) and bool(tags & {2, 100}) and tags <= _FIELDS
        inner = {tag >> 3: value for tag, _, value in reversed(first_fields(content))}
        is_layer = _is_text(inner.get(1, b"")) and _is_text(inner.get(2, b""))
        return (number == 100 and is_layer) or (number == 2 and name.lower().endswith(_ENDING))

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of convolutions, in layer order; then the other arrays."""
        layers = read_layers(WireReader(file))
        depths = _depths(layers)
        found = Convolutions()
        rest: list[Tensor] = []
        for layer, depth in zip(layers, depths, strict=True):
            rest += layer.blobs[1:] if looks_like_convolution(layer.type) else layer.blobs
            if looks_like_convolution(layer.type):
                with found.reading(show(layer.name), 0 if depth is None else depth):
                    found.tensors.append(_weight(layer, depth))
        yield from found.found()
        yield from rest

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every array of every layer."""
        for layer in read_layers(WireReader(file)):
            yield from layer.blobs


def _weight(layer: LayerParameter, depth: int | None) -> Tensor:
    if layer.obstacle:
        raise Refused(Reason.UNSUPPORTED, layer.obstacle, show(layer.name))
    if not layer.blobs:
        raise Refused(Reason.MALFORMED, "a convolution without numbers", show(layer.name))
    weight = layer.blobs[0]
    described = convolution_of(layer, weight.shape, depth)
    layout = Layout.IO_K if is_transposed(layer.type) else Layout.OI_K
    return replace(weight, layout=layout, convolution=described)


def _depths(layers: list[LayerParameter]) -> list[int | None]:
    """The depth of each layer; None for all if one of the convolutions does not state its inputs."""
    depth_of: dict[str, int] = {}
    depths: list[int | None] = []
    for layer in layers:
        depth = 1 + max((depth_of.get(name, 0) for name in layer.inputs), default=-1)
        depth_of |= dict.fromkeys(layer.outputs, depth)
        depths.append(depth)
    is_complete = all(layer.inputs for layer in layers if looks_like_convolution(layer.type))
    return depths if is_complete else [None] * len(layers)


def _is_text(content: bytes) -> bool:
    try:
        return 0 < len(content) <= _LONGEST_NAME and content.decode().isprintable()
    except UnicodeDecodeError:
        return False


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The Caffe format."""
    return [Caffe()]
