"""Inert placeholders for the objects that a pickle refers to and would build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, overload


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that the pickle refers to. It is never resolved."""

    module: str
    name: str


@dataclass(slots=True, eq=False)
class Instance:
    """A call that the pickle describes: the callable's name, its arguments, and the state set afterwards."""

    maker: object
    arguments: tuple[object, ...]
    state: object = None
    entries: dict[str, object] | None = None
    elements: list[object] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """Bytes of a pickle that stay in the file. is_text: they are UTF-8 text with one byte per code point."""

    offset: int
    length: int
    is_text: bool = False


class PickleBytes(Protocol):
    """The bytes of a pickle: in memory, or read from a file on demand."""

    def __len__(self) -> int:
        """The number of bytes."""
        ...

    @overload
    def __getitem__(self, place: int, /) -> int: ...
    @overload
    def __getitem__(self, place: slice, /) -> bytes: ...

    def find(self, wanted: bytes, start: int, end: int, /) -> int:
        """As `bytes.find`."""
        ...


class Meaning(Protocol):
    """How a reader interprets calls and persistent ids; both map data to data."""

    def call(self, maker: object, arguments: tuple[object, ...]) -> object:
        """The value that represents `maker(*arguments)`."""

    def persistent(self, identity: object) -> object:
        """The value that represents a persistent id."""
