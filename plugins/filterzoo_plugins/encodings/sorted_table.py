"""Reads the sorted tables of LevelDB, in which TensorFlow stores its checkpoints: keys and values, sorted by key.

The layout: LevelDB's doc/table_format.md. A footer of 48 bytes points to the index block, which points to the data
blocks. In a block each key states the number of bytes that it shares with the previous key. Each block is followed by
its type and its CRC-32C.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from filterzoo import RandomAccessFile, Reason, Refused
from filterzoo_plugins.encodings.protobuf import decode_varint

MAX_INDEX_BYTES = 16 << 20
"""Longest index block, in bytes."""
MAX_BLOCKS = 1_000_000
MAX_ENTRIES = 2_000_000
MAX_KEY_BYTES = 1 << 16
MAX_CHECKED = 4 << 20
"""Most bytes whose CRC-32C is computed: some seconds of work."""

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_PLAIN, _SNAPPY = 0, 1
_WINDOW = 64 << 10
_LONGEST_HEADER = 30


class TableEntry(NamedTuple):
    """A key and the location of its value in the file."""

    key: bytes
    offset: int
    length: int


class _Block(NamedTuple):
    offset: int
    length: int


class SortedTable:
    """A file that is one table; Refused (malformed) if it has no footer."""

    def __init__(self, file: RandomAccessFile) -> None:
        self.file = file
        footer_at = file.size - _FOOTER_BYTES
        footer = file.read(footer_at, _FOOTER_BYTES) if footer_at >= 0 else b""
        if footer[-len(MAGIC) :] != MAGIC:
            raise Refused(Reason.MALFORMED, "a table without its end: cut off, or none", f"byte {max(footer_at, 0)}")
        _, position = _handle(footer, 0)
        self._index, _ = _handle(footer, position)
        self._end = footer_at
        self._checked = 0
        self._entries = 0

    def entries(self) -> Iterator[TableEntry]:
        """Every entry, in order; Refused (malformed) if keys are out of order or repeated, or blocks overlap."""
        last, end = None, 0
        for block in self._blocks():
            if block.offset < end:
                raise Refused(Reason.MALFORMED, "blocks of a table that overlap", f"byte {block.offset}")
            end = block.offset + block.length
            for entry in self._entries_of(block):
                if last is not None and entry.key <= last:
                    raise Refused(Reason.MALFORMED, "keys of a table that are not in order", f"byte {entry.offset}")
                last = entry.key
                yield entry

    def _blocks(self) -> list[_Block]:
        if self._index.length > MAX_INDEX_BYTES:
            raise Refused(Reason.LIMIT, f"an index of {self._index.length} bytes"[:120], "the table's end")
        entries = list(self._entries_of(self._index))
        if len(entries) > MAX_BLOCKS:
            raise Refused(Reason.LIMIT, f"more than {MAX_BLOCKS} blocks")
        return [self._handle_in(entry) for entry in entries]

    def _handle_in(self, entry: TableEntry) -> _Block:
        if entry.length > _LONGEST_HEADER:
            raise Refused(Reason.MALFORMED, "a block that does not say where it is", f"byte {entry.offset}")
        block, _ = _handle(self.file.read(entry.offset, entry.length), 0)
        return block

    def _entries_of(self, block: _Block) -> Iterator[TableEntry]:
        """The entries of one block; its values are not read."""
        end = self._checked_end(block)
        at, key = block.offset, b""
        window, base = b"", at
        while at < end:
            if at - base + _LONGEST_HEADER > len(window):
                base, window = at, self.file.read(at, min(_WINDOW, end - at))
            shared, position = decode_varint(window, at - base)
            added, position = decode_varint(window, position)
            length, position = decode_varint(window, position)
            start = base + position
            if shared > len(key) or added > MAX_KEY_BYTES or start + added + length > end:
                raise Refused(Reason.MALFORMED, "an entry that reaches past its block", f"byte {at}")
            self._entries += 1
            if self._entries > MAX_ENTRIES:
                raise Refused(Reason.LIMIT, f"more than {MAX_ENTRIES} entries", f"byte {at}")
            is_inside = position + added <= len(window)
            tail = window[position : position + added] if is_inside else self.file.read(start, added)
            key = key[:shared] + tail
            if len(key) > MAX_KEY_BYTES:
                raise Refused(Reason.LIMIT, f"a key of more than {MAX_KEY_BYTES} bytes", f"byte {at}")
            yield TableEntry(key, start + added, length)
            at = start + added + length

    def _checked_end(self, block: _Block) -> int:
        """The end of a block's entries, which are followed by the restarts, their number, the type and the CRC-32C."""
        where = f"byte {block.offset}"
        if block.length < 4 or block.offset + block.length + _TRAILER_BYTES > self._end:
            raise Refused(Reason.MALFORMED, "a block outside of the table", where)
        after = self.file.read(block.offset + block.length - 4, 4 + _TRAILER_BYTES)
        restarts, kind, crc = struct.unpack("<IBI", after)
        if kind == _SNAPPY:
            raise Refused(Reason.UNSUPPORTED, "a table whose blocks are packed by Snappy", where)
        if kind != _PLAIN or 4 * (restarts + 1) > block.length:
            raise Refused(Reason.MALFORMED, f"a block of type {kind} with {restarts} restarts", where)
        self._checked += block.length
        if self._checked <= MAX_CHECKED:
            content = self.file.read(block.offset, block.length + 1)
            if _masked(crc32c(content)) != crc:
                raise Refused(Reason.DAMAGED, "the CRC-32C of a block does not fit", where)
        return block.offset + block.length - 4 * (int(restarts) + 1)


def crc32c(content: bytes) -> int:
    """The checksum of RFC 3720, which the standard library lacks."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in content:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    table: list[int] = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _masked(crc: int) -> int:
    """The checksum as LevelDB stores it (util/crc32c.h)."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _handle(buffer: bytes, position: int) -> tuple[_Block, int]:
    offset, position = decode_varint(buffer, position)
    length, position = decode_varint(buffer, position)
    return _Block(offset, length), position
