"""ONNX files: the weights that convolutions of the graph read, and external data in side files."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from filterzoo import FileFacts, Format, Layout, LeftOut, RandomAccessFile, Refused, Span, Tensor, hookimpl
from filterzoo_plugins.encodings.protobuf import LENGTH_DELIMITED, VARINT, WireReader, decode_varint
from filterzoo_plugins.formats.onnx.graph import GraphWalk
from filterzoo_plugins.formats.onnx.model import ModelReader, read_metadata, read_opset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filterzoo_plugins.formats.onnx.array import Array

_MODEL_FIELDS = {
    1: VARINT,  # ir_version
    2: LENGTH_DELIMITED,  # producer_name
    3: LENGTH_DELIMITED,  # producer_version
    4: LENGTH_DELIMITED,  # domain
    5: VARINT,  # model_version
    6: LENGTH_DELIMITED,  # doc_string
    7: LENGTH_DELIMITED,  # graph
    8: LENGTH_DELIMITED,  # opset_import
    14: LENGTH_DELIMITED,  # metadata_props
    20: LENGTH_DELIMITED,  # training_info
    25: LENGTH_DELIMITED,  # functions
    26: LENGTH_DELIMITED,  # configuration
}
_GRAPH = 7
_TEXTS = frozenset({2, 3, 4})
"""Names and versions of the producer; if one of them after the graph is malformed, the file is a broken ONNX file."""
_LONGEST_NAME = 1024
_MAX_IR_VERSION = 127
_LICENCE_KEYS = ("license", "licence")
_MAX_LICENCE_TEXT = 10_000


class Onnx(Format):
    """ONNX models, any operator set: Conv, ConvTranspose, their quantised forms, bodies and functions included.

    A convolution's weight is a stored array, with the strides and scales of the nodes in between, or computed from
    constants by a closed set of operations (`folds`). A weight that depends on an input is not a layer; a weight that
    is computed in any other way is left out as unsupported.
    """

    name: ClassVar[str] = "onnx"
    framework: ClassVar[str | None] = "onnx"
    is_graph: ClassVar[bool] = True

    def accepts(self, head: bytes, name: str) -> bool:
        """Without magic bytes: by ir_version as the first field, then known fields with their wire types."""
        del name
        try:
            return _is_model_head(head)
        except (Refused, IndexError):
            return False

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of convolutions, in node order; then the other arrays."""
        reader = WireReader(file)
        model = ModelReader(reader).model()
        walk = GraphWalk(model, reader)
        walk.run()
        yield from walk.convolutions.found()
        yield from (_unread(array) for array in model.arrays if array.offset not in walk.read)

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Every array of the model as stored: initializers and the values of Constant nodes."""
        yield from map(_unread, ModelReader(WireReader(file)).model().arrays)

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """The licence stated in the metadata, and the opset version."""
        reader = WireReader(file)
        metadata = {key.lower(): text for key, text in read_metadata(reader).items()}
        licence = next((metadata[key] for key in _LICENCE_KEYS if metadata.get(key)), None)
        licence = licence and licence[:_MAX_LICENCE_TEXT]
        return FileFacts(framework=self.framework, licence=licence, opset=read_opset(reader))


def _is_model_head(head: bytes) -> bool:
    position, known = 0, set[int]()
    while position < len(head):
        tag, position = decode_varint(head, position)
        number = tag >> 3
        if _MODEL_FIELDS.get(number) != tag & 7 or (not known and number != 1):
            return False
        value, position = decode_varint(head, position)
        if number in _TEXTS and _GRAPH not in known and not _is_short_text(head[position : position + value], value):
            return False
        if number == 1 and not 1 <= value <= _MAX_IR_VERSION:
            return False
        known.add(number)
        if tag & 7 == LENGTH_DELIMITED:
            position += value
    return len(known) > 1 and (_GRAPH in known or position >= len(head))


def _is_short_text(content: bytes, length: int) -> bool:
    """Whether a field may be a name or a version; other kinds of models have a message in its place."""
    try:
        return length <= _LONGEST_NAME and (not content or content.decode().isprintable())
    except UnicodeDecodeError:
        return False


def _unread(array: Array) -> Tensor:
    """The listed form of an array: bytes, if its elements are unknown or written one by one."""
    if array.packed is not None:
        return replace(array.packed, name=array.name, layout=Layout.OTHER, evidence=None)
    if array.span is None:
        offset, length = array.varints or (array.offset, 0)
        return Tensor(name=array.name, dtype="U8", shape=(length,), span=Span(offset, length), layout=Layout.OTHER)
    return Tensor(name=array.name, dtype=array.dtype, shape=array.shape, span=array.span, layout=Layout.OTHER)


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The ONNX format."""
    return [Onnx()]
