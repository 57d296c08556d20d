"""The interface of a format plugin: recognises a file by its first bytes and lists its tensors, executing nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from filterzoo.files import RandomAccessFile
from filterzoo.records import FileFacts, LeftOut, Tensor

HEAD_BYTES = 4096
"""The number of first bytes of a file that are passed to `accepts`."""


class Format(ABC):
    """A file format. `index` and `facts` run in the jail: no torch, no network, no writing, little memory and time."""

    name: ClassVar[str]
    """The value of the `format` column; never changes."""
    framework: ClassVar[str | None] = None
    """The framework that writes such files: torch, keras, onnx, ..."""
    is_graph: ClassVar[bool] = False
    """True: `index` marks the convolutions itself. False: they are selected by name and shape (`layers.selection`)."""

    is_last_resort: ClassVar[bool] = False
    """True: tried only for files that no other format and no archive accepts, to name formats that are not read."""

    def prepare(self) -> None:
        """Called in the jail before it is confined, from the first file of this format on: import what `index` needs.

        Modules that neither the plugin's module nor this method imports cannot be imported later, because a confined
        process opens no files. Therefore the first file of a format is read in a new child.
        """

    @abstractmethod
    def accepts(self, head: bytes, name: str) -> bool:
        """Whether a file that starts with `head` is of this format; `name` counts only for ambiguous bytes."""

    def includes(self, name: str, other: str) -> bool:
        """Whether the file `other`, in the folder of the model `name` or below, is a part of that model.

        Called for archives, where `other` could be mistaken for a model of its own. Names may contain slashes.
        """
        del name, other
        return False

    @abstractmethod
    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """Every named array of the file, in order, as stored; Refused for a file that violates the format.

        A tensor whose elements cannot be read has an `obstacle`; if it is a convolution weight, it is left out by name.
        `file.name` is the file's name in its zoo; names are untrusted, so prefer the bytes.
        A graph format yields a LeftOut for a convolution that cannot be read. The depths of the others
        (`Convolution.stated_depth`) must count it. If all are left out, the file is refused.
        """

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """Every named array as stored; `filterzoo.open` calls this on graph formats.

        Override it if `index` yields views that differ from the stored arrays, or refuses files whose arrays can be
        listed.
        """
        return self.index(file)

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """What the file states about itself."""
        del file
        return FileFacts(framework=self.framework)
