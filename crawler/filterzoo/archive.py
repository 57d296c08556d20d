"""The interface of an archive plugin: it lists the files inside a file, so that the model can be read in place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from filterzoo.files import RandomAccessFile


class Packing(StrEnum):
    """How a member's bytes are stored in the archive."""

    STORED = "stored"
    """Uncompressed: the member is read in place."""
    DEFLATE = "deflate"
    """Raw deflate, as in zips."""
    GZIP = "gzip"
    BZIP2 = "bzip2"
    XZ = "xz"


WHOLE = frozenset({Packing.GZIP, Packing.BZIP2, Packing.XZ})
"""Compressors of whole files (`.gz`): the result may be an archive with members, or a model without a name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file in an archive: `length` bytes at `offset`, compressed as `packing` says. `name` is never used as a path.

    size: of the unpacked file, None if the archive does not state it. crc32: of the unpacked file, if the archive has
    one.
    """

    name: str
    offset: int
    length: int
    packing: Packing = Packing.STORED
    size: int | None = None
    crc32: int | None = None


class Archive(ABC):
    """A kind of archive. `members` runs in the jail, as a format's `index` does."""

    name: ClassVar[str]

    @abstractmethod
    def accepts(self, head: bytes, name: str) -> bool:
        """Whether a file that starts with `head`, and that no format accepts, is such an archive."""

    @abstractmethod
    def members(self, file: RandomAccessFile) -> Iterator[Member]:
        """The archive's regular files, in order; Refused (unsafe) for links, devices and names that point outside."""

    def aliases(self, file: RandomAccessFile) -> Mapping[str, str]:
        """Other names of members: links inside the archive, each with the name that it points to."""
        del file
        return {}
