"""The protobuf wire format in a file of any size: fields are located, payloads are skipped without reading."""

from __future__ import annotations

from typing import TYPE_CHECKING

from filterzoo import Reason, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from filterzoo import RandomAccessFile

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5
"""The wire types in use; groups (3 and 4) were deprecated before these formats existed."""

MAX_FIELDS = 4_000_000
"""Most fields read in one file: far more than in the largest published graphs, a few seconds of work."""
MAX_TEXT_BYTES = 1 << 20
"""Longest name that is read, in bytes."""
MAX_TEXT_TOTAL = 64 << 20
"""Most bytes of all names of a file together."""

_LONGEST_HEADER = 20  # a tag and a length, ten bytes each
_SEQUENTIAL_CHUNK = 64 << 10
_CHUNK_AFTER_JUMP = 1 << 10  # a large payload is usually followed by one small header, then the next payload ...
_LONGEST_AFTER_JUMP = 16 << 10  # ... or by a header and small arrays, as many as after the last large payload
_SHORT_GAP = 8 << 10  # for a remote file, skipping less than this costs more than reading it


def varint_tag(number: int) -> int:
    """The tag of a varint field."""
    return number << 3 | VARINT


def length_tag(number: int) -> int:
    """The tag of a message, a string, bytes, or packed numbers."""
    return number << 3 | LENGTH_DELIMITED


def fixed32_tag(number: int) -> int:
    """The tag of a float."""
    return number << 3 | FIXED32


def fixed64_tag(number: int) -> int:
    """The tag of a double."""
    return number << 3 | FIXED64


def decode_varint(buffer: bytes, position: int) -> tuple[int, int]:
    """The unsigned number at `position` and the position after it; Refused (malformed) past 64 bits or the buffer."""
    value = shift = 0
    for byte in buffer[position : position + 10]:
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, position
        shift += 7
    raise Refused(Reason.MALFORMED, "a protobuf number is longer than 64 bits or is cut off")


def signed(value: int) -> int:
    """The int64 or int32 of an unsigned number on the wire."""
    return value - (1 << 64) if value >> 63 else value


def first_fields(head: bytes, most: int = 64) -> list[tuple[int, int, bytes]]:
    """(tag, number or length, payload) of the first fields of a possibly truncated message; [] for anything else."""
    found: list[tuple[int, int, bytes]] = []
    at = 0
    try:
        while at < len(head) and len(found) < most:
            tag, at = decode_varint(head, at)
            if tag >> 3 == 0:
                return []
            if tag & 7 == VARINT:
                value, at = decode_varint(head, at)
                found.append((tag, value, b""))
            elif tag & 7 == LENGTH_DELIMITED:
                length, at = decode_varint(head, at)
                found.append((tag, length, head[at : at + length]))
                at += length
            elif tag & 7 in {FIXED64, FIXED32}:
                at += 8 if tag & 7 == FIXED64 else 4
                found.append((tag, 0, b""))
            else:
                return []
    except (Refused, IndexError):
        return found
    return found


class WireReader:
    """Reads the messages of one file through a small moving buffer, and of payloads only the requested bytes."""

    def __init__(self, file: RandomAccessFile) -> None:
        self.file = file
        self.fields_read = 0
        self.text_bytes = 0
        self._buffer = b""
        self._base = 0
        self._chunk = _SEQUENTIAL_CHUNK
        self._jumped_to = self._used_to = 0
        self._chunk_after_jump = _CHUNK_AFTER_JUMP

    def fields(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """(tag, value, offset) of each field of the message in [start, end).

        value: the unsigned number of a varint, otherwise the length of the payload that starts at byte `offset`.
        Refused (malformed) if a field reaches past `end` or has no known wire type; Refused (limit) past MAX_FIELDS.
        """
        offset = start
        while offset < end:
            buffer = self._buffer
            position = offset - self._base
            if not 0 <= position <= len(buffer) - _LONGEST_HEADER:
                buffer = self._move(offset)
                position = 0
            field = position
            tag = buffer[position]
            position += 1
            if tag >= 0x80:
                tag, position = decode_varint(buffer, field)
            wire = tag & 7
            if wire in (VARINT, LENGTH_DELIMITED):
                value = buffer[position]
                position += 1
                if value >= 0x80:
                    value, position = decode_varint(buffer, position - 1)
            else:
                value = {FIXED32: 4, FIXED64: 8}.get(wire, -1)
            payload = offset + position - field
            following = payload + value if wire else payload
            if value < 0 or tag < 8 or following > end:
                raise Refused(Reason.MALFORMED, "a protobuf field is cut off or of no known kind", f"byte {offset}")
            self.fields_read += 1
            if self.fields_read > MAX_FIELDS:
                raise Refused(Reason.LIMIT, f"more than {MAX_FIELDS} protobuf fields", f"byte {offset}")
            self._used_to = payload
            yield tag, value, payload
            offset = following

    def text(self, offset: int, length: int) -> str:
        """The string of `length` bytes at `offset`; Refused if it is not UTF-8 (malformed) or too long (limit)."""
        self.text_bytes += length
        if length > MAX_TEXT_BYTES or self.text_bytes > MAX_TEXT_TOTAL:
            raise Refused(Reason.LIMIT, "the file's names are longer than anything sensible", f"byte {offset}")
        try:
            return self.read(offset, length).decode()
        except UnicodeDecodeError as error:
            raise Refused(Reason.MALFORMED, "a name is not UTF-8", f"byte {offset}") from error

    def varints(self, offset: int, length: int, limit: int) -> list[int]:
        """The packed varints in `length` bytes at `offset`; Refused (limit) if there may be more than `limit`."""
        if length > 10 * limit:
            raise Refused(Reason.LIMIT, f"more than {limit} numbers where few belong", f"byte {offset}")
        buffer = self.read(offset, length)
        values: list[int] = []
        position = 0
        while position < length:
            value, position = decode_varint(buffer, position)
            values.append(value)
        if len(values) > limit:
            raise Refused(Reason.LIMIT, f"more than {limit} numbers where few belong", f"byte {offset}")
        return values

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes at `offset`, from the buffer if it has them. The caller bounds `length`."""
        position = offset - self._base
        if position >= 0 and position + length <= len(self._buffer) and offset + length <= self.file.size:
            return self._buffer[position : position + length]
        return self.file.read(offset, length)

    def _expected_after_jump(self) -> int:
        """The number of bytes used since the last jump, at least half the previous expectation, within the limits."""
        used = self._used_to - self._jumped_to + _LONGEST_HEADER
        return max(_CHUNK_AFTER_JUMP, min(max(used, self._chunk_after_jump // 2), _LONGEST_AFTER_JUMP))

    def _move(self, offset: int) -> bytes:
        """Fill the buffer from `offset`; its size grows while the file is read sequentially."""
        near = -_LONGEST_HEADER <= offset - (self._base + len(self._buffer)) <= _SHORT_GAP
        if near:
            self._chunk = min(2 * self._chunk, _SEQUENTIAL_CHUNK)
        else:
            self._chunk = self._chunk_after_jump = self._expected_after_jump()
            self._jumped_to = offset
        length = min(self._chunk, self.file.size - offset)
        self._buffer = self.file.read(offset, length)
        self._base = offset
        if offset + length == self.file.size:
            # Padding: a header at the end is decoded without checking each byte; `fields` then checks its end.
            self._buffer += bytes(_LONGEST_HEADER)
        return self._buffer
