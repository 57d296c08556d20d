"""The state of the symbolic pickle machine, and the operations of its opcodes. Every step is bounded."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import NoReturn

from filterzoo import Reason, Refused
from filterzoo_plugins.encodings.pickle.inert import Blob, Instance, Meaning, Name, PickleBytes

MAX_INTEGER_BYTES = 64
MAX_KEY_BYTES = 1 << 20
RECENT = 8
"""Number of texts whose offsets are kept. Between an array's bytes and their use there is at most the name of the
encoding.
"""
TEXT_FROM = 64 << 10
"""Texts of at least this length stay in the file, if byte strings do: no name is that long."""
MAX_LINE_BYTES = 64 << 10
"""The longest argument that ends with a line break: a class path, a number in protocol 0."""


class Truncated(Exception):
    """Raised if the bytes end before the pickle does; the reader fetches more and restarts, or refuses."""


class PickleStack:
    """The stack, the marks and the memo of one pickle, and the bytes from which its opcodes read their arguments."""

    def __init__(self, data: PickleBytes, meaning: Meaning, position: int = 0, *, blobs_from: int = 1 << 62) -> None:
        self.data = data
        self.blobs_from = blobs_from
        """Byte strings of at least this length stay in the file."""
        self.texts: deque[tuple[str, Blob]] = deque(maxlen=RECENT)
        """The last texts and their offsets: protocols 0 to 2 store bytes as text, right before their use."""
        self.position = position
        self.meaning = meaning
        self.stack: list[object] = []
        self.marked: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def refuse(self, detail: str, reason: Reason = Reason.MALFORMED) -> NoReturn:
        """Raise the refusal of this pickle, at the current position."""
        raise Refused(reason, detail, f"pickle byte {self.position}")

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        start = self.position
        self.position = start + length
        if self.position > len(self.data):
            raise Truncated
        return self.data[start : self.position]

    def bytes_or_blob(self, length: int) -> bytes | Blob:
        """The next `length` bytes, or their location if they are many."""
        if length < self.blobs_from:
            return self.take(length)
        start = self.position
        self.position = start + length
        if self.position > len(self.data):
            raise Truncated
        return Blob(start, length)

    def text_or_blob(self, length: int, decode: Callable[[bytes], str], *, is_text: bool) -> str | Blob:
        """The next `length` bytes as text, or their location if they are many."""
        blob = Blob(self.position, length, is_text)
        are_left = self.blobs_from < len(self.data)
        if are_left and length >= TEXT_FROM:
            self.position += length
            if self.position > len(self.data):
                raise Truncated
            return blob
        text = decode(self.take(length))
        if are_left and length >= self.blobs_from:
            self.texts.append((text, blob))
        return text

    def as_blob(self, value: object) -> object:
        """The location of the bytes that a text encodes; any other value unchanged."""
        return next((blob for text, blob in self.texts if text is value), value)

    def number(self, layout: struct.Struct) -> int:
        """The next number of that layout."""
        start = self.position
        self.position = start + layout.size
        if self.position > len(self.data):
            raise Truncated
        return int(layout.unpack(self.data[start : self.position])[0])

    def line(self) -> bytes:
        """The next bytes up to a line break, without it."""
        start = self.position
        end = self.data.find(b"\n", start, start + MAX_LINE_BYTES)
        if end < 0:
            if start + MAX_LINE_BYTES > len(self.data):
                raise Truncated
            self.refuse("a line without end in a pickle", Reason.LIMIT)
        self.position = end + 1
        return self.data[start:end]

    def unmark(self) -> list[object]:
        """Everything above the last mark, removed together with it."""
        above = self.stack
        self.stack = self.marked.pop()
        return above

    def put(self, key: object, value: object, target: object) -> None:
        """Emulate `target[key] = value`. Keys become text, so that no other value from the file is hashed."""
        if type(target) is dict:
            entries = target
        elif type(target) is Instance:
            if target.entries is None:
                target.entries = {}
            entries = target.entries
        else:
            self.refuse("a pickle that sets an item of what has none")
        if type(key) is Blob and key.length <= MAX_KEY_BYTES:
            key = self.data[key.offset : key.offset + key.length]
        entries[key if type(key) is str else _key(key, len(entries))] = value

    def extend(self, values: list[object], target: object) -> None:
        """Emulate `target.extend(values)`."""
        if type(target) is list:
            target.extend(values)
        elif type(target) is Instance:
            if target.elements is None:
                target.elements = []
            target.elements.extend(values)
        else:
            self.refuse("a pickle that appends to what is no list")


def _key(key: object, position: int) -> str:
    """A name for a dictionary key that is not text."""
    if key is None or type(key) in {int, float, bool}:
        return str(key)
    if type(key) is bytes:
        return key.decode("utf-8", "backslashreplace")
    if type(key) is Instance and key.maker == Name("_codecs", "encode"):  # bytes, as protocol 2 writes them
        match key.arguments:
            case (str() as text, *_):
                return text
    return f"<{type(key).__name__.lower()} {position}>"
