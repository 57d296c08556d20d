"""The interface of a format plugin: it recognises a file by its first bytes and lists its tensors, running nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from filterzoo.files import RandomAccessFile
from filterzoo.records import FileFacts, LeftOut, Tensor

HEAD_BYTES = 4096
"""How many first bytes of a file are passed to `accepts`."""


class Format(ABC):
    """A file format. `index` and `facts` run in the jail: no torch, no network, no writing, little memory and time."""

    name: ClassVar[str]
    """The value of the `format` column; never changes."""
    framework: ClassVar[str | None] = None
    """What writes such files: torch, keras, onnx, ..."""
    is_graph: ClassVar[bool] = False
    """True: `index` marks the convolutions itself. False: they are chosen by name and shape (`layers.selection`)."""

    is_last_resort: ClassVar[bool] = False
    """True: asked only about files that no other format and no archive accepts. It names what is not read."""

    def prepare(self) -> None:
        """Called in the jail before it closes, from the first file of this format on: import what only `index` needs.

        What neither the plugin's module nor this method imports cannot be imported later: nothing can be opened then.
        The first such file is read in a new child for that.
        """

    @abstractmethod
    def accepts(self, head: bytes, name: str) -> bool:
        """Whether a file that starts with `head` is of this format; `name` counts only for ambiguous bytes."""

    def includes(self, name: str, other: str) -> bool:
        """Whether the file called `other`, below the folder of the model called `name`, is a part of that model.

        Asked of archives, where `other` could be taken for a model by itself. Names have slashes.
        """
        del name, other
        return False

    @abstractmethod
    def index(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """Every named array of the file, in its order, as stored; Refused for a file that breaks the rules.

        A tensor whose numbers cannot be read has an `obstacle`; a convolution weight among them is left out by name.
        `file.name` is what its zoo calls it; names are untrusted and tell less than bytes.
        A graph format gives a LeftOut for a convolution that cannot be read, and what it says of the others' depth
        (`Convolution.stated_depth`) then counts that one. Where all of them are left out the file is refused.
        """

    def tensors(self, file: RandomAccessFile) -> Iterator[Tensor | LeftOut]:
        """Every named array as it is stored, asked of graph formats for `filterzoo.open`.

        To be overridden where `index` gives views that differ from what is stored, or refuses what can be listed.
        """
        return self.index(file)

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """What the file states about itself."""
        del file
        return FileFacts(framework=self.framework)
