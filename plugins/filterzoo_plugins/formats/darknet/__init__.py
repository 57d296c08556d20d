"""Darknet's weights (.weights): numbers in a row; the .cfg of the same name beside them says what they are."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import ClassVar

from filterzoo import Format, LeftOut, RandomAccessFile, Reason, Refused, Tensor, hookimpl
from filterzoo_plugins.encodings.convolutions import Convolutions
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.formats.darknet.config import MAX_BYTES, read_sections
from filterzoo_plugins.formats.darknet.layers import FileArray, LayerStack

_WEIGHTS, _CONFIG = ".weights", ".cfg"
_MOST_VERSION = 1000
"""Above it the matrices of connected layers are transposed."""


class Darknet(Format):
    """A network of convolutional and connected layers, of pjreddie's Darknet and of AlexeyAB's.

    The numbers that the layers ask for must be all that the file has: other layers with numbers are refused by name.
    """

    name: ClassVar[str] = "darknet"
    framework: ClassVar[str | None] = "darknet"
    is_graph: ClassVar[bool] = True
    _called: str = ""

    def accepts(self, head: bytes, name: str) -> bool:
        """The name ends with `.weights`, and the file starts with three numbers of a version."""
        self._called = name
        if not name.lower().endswith(_WEIGHTS) or len(head) < 16:
            return False
        version: tuple[int, int, int] = struct.unpack_from("<3i", head)
        return version[0] == 0 and 0 <= version[1] <= 9 and 0 <= version[2] < _MOST_VERSION

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of each convolution, in the order of the network; then the other numbers."""
        found, rest = Convolutions(), list[Tensor]()
        for layout in self._arrays(file):
            if layout.convolution is None:
                rest.append(layout.tensor)
            else:
                found.tensors.append(layout.tensor)
        yield from found.found()
        yield from rest

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """All numbers, in the order of the file."""
        return (layout.tensor for layout in self._arrays(file))

    def _arrays(self, file: RandomAccessFile) -> list[FileArray]:
        name = self._called.rpartition("/")[2]
        beside = name[: -len(_WEIGHTS)] + _CONFIG
        with contextlib.closing(_beside(file, beside)) as config:
            if config.size > MAX_BYTES:
                raise Refused(Reason.LIMIT, f"a description of more than {MAX_BYTES} bytes", show(beside))
            sections = read_sections(config.read(0, config.size))
        major, minor = struct.unpack("<2i", file.read(0, 8))
        # How many pictures were seen: 64 bits since version 0.2.
        layers = LayerStack(start=20 if major * 10 + minor >= 2 else 16, end=file.size)
        for section in sections:
            layers.add(section)
        return layers.finished()


def _beside(file: RandomAccessFile, name: str) -> RandomAccessFile:
    """The description; Refused (unsupported) where there is none, for nothing else says what the numbers are."""
    try:
        return file.beside(name)
    except Refused as refusal:
        if refusal.reason is not Reason.MALFORMED:
            raise
        detail = f"Darknet weights without the .cfg of the same name beside them: {refusal.detail}"
        raise Refused(Reason.UNSUPPORTED, detail, show(name)) from refusal


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The Darknet format."""
    return [Darknet()]
