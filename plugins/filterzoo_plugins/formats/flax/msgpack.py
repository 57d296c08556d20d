"""Msgpack in a file of any size: decodes headers, skips payloads without reading (msgpack.org)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.reading import SequentialReader

MAX_VALUES = 300_000
"""Most values of one file, a second of work: numbers are stored in arrays, not as single values."""
MAX_TEXT_BYTES = 1 << 16


class Sort(Enum):
    """The kind of value that a header announces."""

    MAP = auto()
    LIST = auto()
    TEXT = auto()
    BYTES = auto()
    EXTENSION = auto()
    INTEGER = auto()
    OTHER = auto()
    """Nil, a boolean or a float."""


@dataclass(frozen=True, slots=True)
class ItemHeader:
    """A decoded header.

    value: the number of entries, bytes of payload, or the integer. extension: the type of an extension.
    """

    sort: Sort
    value: int
    extension: int = 0
    lead: int = 0


_SIZED = {
    0xC4: (Sort.BYTES, "B"),
    0xC5: (Sort.BYTES, "H"),
    0xC6: (Sort.BYTES, "I"),
    0xC7: (Sort.EXTENSION, "B"),
    0xC8: (Sort.EXTENSION, "H"),
    0xC9: (Sort.EXTENSION, "I"),
    0xCC: (Sort.INTEGER, "B"),
    0xCD: (Sort.INTEGER, "H"),
    0xCE: (Sort.INTEGER, "I"),
    0xCF: (Sort.INTEGER, "Q"),
    0xD0: (Sort.INTEGER, "b"),
    0xD1: (Sort.INTEGER, "h"),
    0xD2: (Sort.INTEGER, "i"),
    0xD3: (Sort.INTEGER, "q"),
    0xD9: (Sort.TEXT, "B"),
    0xDA: (Sort.TEXT, "H"),
    0xDB: (Sort.TEXT, "I"),
    0xDC: (Sort.LIST, "H"),
    0xDD: (Sort.LIST, "I"),
    0xDE: (Sort.MAP, "H"),
    0xDF: (Sort.MAP, "I"),
}
_FIXED_EXTENSIONS = {0xD4 + power: 1 << power for power in range(5)}
_PLAIN = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8}
"""Nil, false, true, floats: the bytes after the header."""


class MsgpackReader:
    """Reads one header after the other."""

    def __init__(self, reader: SequentialReader) -> None:
        self.reader = reader
        self._values = 0

    def head(self) -> ItemHeader:
        """The next header; Refused if it is truncated, invalid, or announces more bytes than the file has."""
        where = f"byte {self.reader.position}"
        self._values += 1
        if self._values > MAX_VALUES:
            raise Refused(Reason.LIMIT, f"more than {MAX_VALUES} msgpack values", where)
        found = self._decoded(self.reader.take(1)[0], where)
        least = {Sort.MAP: 2, Sort.INTEGER: 0}.get(found.sort, 1)
        if found.sort is not Sort.OTHER and found.value * least > self.reader.left:
            raise Refused(Reason.MALFORMED, f"{found.value} entries or bytes where {self.reader.left} are left", where)
        return found

    def _decoded(self, lead: int, where: str) -> ItemHeader:
        if lead < 0x80 or lead >= 0xE0:
            return ItemHeader(Sort.INTEGER, lead if lead < 0x80 else lead - 256)
        if lead < 0xC0:
            sort = Sort.TEXT if lead >= 0xA0 else Sort.LIST if lead >= 0x90 else Sort.MAP
            return ItemHeader(sort, lead & (0x1F if sort is Sort.TEXT else 0x0F))
        if lead in _PLAIN:
            self.reader.skip(_PLAIN[lead])
            return ItemHeader(Sort.OTHER, 0, lead=lead)
        if lead in _FIXED_EXTENSIONS:
            return ItemHeader(Sort.EXTENSION, _FIXED_EXTENSIONS[lead], self.reader.unpack("b")[0])
        if lead not in _SIZED:
            raise Refused(Reason.MALFORMED, f"{lead:#x} starts no msgpack value", where)
        sort, code = _SIZED[lead]
        value: int = self.reader.unpack(f">{code}")[0]
        return ItemHeader(sort, value, self.reader.unpack("b")[0] if sort is Sort.EXTENSION else 0)

    def text(self, head: ItemHeader) -> str:
        """The text after a header."""
        where = f"byte {self.reader.position}"
        if head.sort is not Sort.TEXT:
            raise Refused(Reason.MALFORMED, "a key or a type that is no text", where)
        if head.value > MAX_TEXT_BYTES:
            raise Refused(Reason.LIMIT, f"a name of {head.value} bytes; at most {MAX_TEXT_BYTES} are read", where)
        try:
            return self.reader.take(head.value).decode()
        except UnicodeDecodeError as error:
            raise Refused(Reason.MALFORMED, "a name is not UTF-8", where) from error


def starts_map_of_text(head: bytes) -> bool:
    """Whether a file starts with a map with printable keys whose first non-scalar value may contain arrays."""
    if head[:1] and 0x81 <= head[0] <= 0x8F:
        at, count = 1, head[0] & 0x0F
    elif head[:1] in {b"\xde", b"\xdf"}:
        at = 3 if head[0] == 0xDE else 5
        count = int.from_bytes(head[1:at], "big")
    else:
        return False
    for _ in range(min(count, _FIRST_ENTRIES)):
        start, end = _text_at(head, at)
        key = head[start:end]
        if not key or not key.isascii() or not key.decode("ascii").isprintable() or end >= len(head):
            return False
        lead = head[end]
        if lead in _CONTAINERS:
            return True
        if lead not in _SCALARS and not _text_at(head, end)[1]:
            return False
        at = end + 1 + _SCALARS[lead] if lead in _SCALARS else _text_at(head, end)[1]
    return False


def _text_at(head: bytes, at: int) -> tuple[int, int]:
    """Start and end of the short text at an offset; (0, 0) if there is none."""
    lead = head[at : at + 1]
    if lead and 0xA0 <= lead[0] <= 0xBF:
        return at + 1, at + 1 + (lead[0] & 0x1F)
    if lead == b"\xd9" and len(head) > at + 1:
        return at + 2, at + 2 + head[at + 1]
    return 0, 0


_FIRST_ENTRIES = 8
"""Entries that are inspected: a training state starts with its step number."""
_CONTAINERS = frozenset({*range(0x80, 0xA0), *range(0xC4, 0xCA), *range(0xD4, 0xD9), *range(0xDC, 0xE0)})
_SCALARS = {
    **dict.fromkeys((*range(0x80), *range(0xE0, 0x100)), 0),
    **_PLAIN,
    **{lead: 1 << (lead & 3) for lead in range(0xCC, 0xD4)},
}
"""The payload bytes of an integer, a float, a boolean or nil."""
