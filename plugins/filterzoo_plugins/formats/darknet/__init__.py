"""Darknet weights (.weights): a flat list of floats, described by the .cfg file of the same name."""

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
"""From this version on, matrices of connected layers are transposed."""


class Darknet(Format):
    """A network of convolutional and connected layers of pjreddie's or AlexeyAB's Darknet.

    The arrays of the layers must fill the file exactly; other layers with weights are refused by name.
    """

    name: ClassVar[str] = "darknet"
    framework: ClassVar[str | None] = "darknet"
    is_graph: ClassVar[bool] = True
    _called: str = ""

    def accepts(self, head: bytes, name: str) -> bool:
        """By the ending `.weights` and the three version numbers at the start of the file."""
        self._called = name
        if not name.lower().endswith(_WEIGHTS) or len(head) < 16:
            return False
        version: tuple[int, int, int] = struct.unpack_from("<3i", head)
        return version[0] == 0 and 0 <= version[1] <= 9 and 0 <= version[2] < _MOST_VERSION

    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """The weights of convolutions, in the order of the network; then the other arrays."""
        found, rest = Convolutions(), list[Tensor]()
        for layout in self._arrays(file):
            if layout.convolution is None:
                rest.append(layout.tensor)
            else:
                found.tensors.append(layout.tensor)
        yield from found.found()
        yield from rest

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """All arrays, in file order."""
        return (layout.tensor for layout in self._arrays(file))

    def _arrays(self, file: RandomAccessFile) -> list[FileArray]:
        name = self._called.rpartition("/")[2]
        beside = name[: -len(_WEIGHTS)] + _CONFIG
        with contextlib.closing(_beside(file, beside)) as config:
            if config.size > MAX_BYTES:
                raise Refused(Reason.LIMIT, f"a description of more than {MAX_BYTES} bytes", show(beside))
            sections = read_sections(config.read(0, config.size))
        major, minor = struct.unpack("<2i", file.read(0, 8))
        # The number of training images has 64 bits since version 0.2.
        layers = LayerStack(start=20 if major * 10 + minor >= 2 else 16, end=file.size)
        for section in sections:
            layers.add(section)
        return layers.finished()


def _beside(file: RandomAccessFile, name: str) -> RandomAccessFile:
    """The .cfg file; Refused (unsupported) without it, because nothing else states the layers."""
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
