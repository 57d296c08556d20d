"""FlatBuffers in a file of any size: follows tables and vectors, with bounds checks at every step."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from filterzoo import RandomAccessFile, Reason, Refused

MAX_TEXT_BYTES = 1 << 20
"""Longest name that is read, in bytes."""
MAX_TEXT_TOTAL = 64 << 20
"""Most bytes of all names of a file together."""
MAX_STEPS = 3_000_000
"""Most reads of one buffer, four bytes each: enough for 70,000 tensors, and a few seconds. Tables and vectors may be
shared, so the file's size does not bound them."""

_PAGE = 4096
_MAX_PAGES = 8192
_INTEGERS = {code: struct.Struct(f"<{code}") for code in "bBHiIQ"}


class FlatBuffer:
    """The buffer of `size` bytes that starts at byte `start` of a file; read in small pages, which are cached."""

    def __init__(self, file: RandomAccessFile, start: int = 0, size: int | None = None) -> None:
        self.file = file
        self.start = start
        self.size = file.size - start if size is None else size
        file.check_bounds(start, self.size)
        self.text_bytes = 0
        self._steps = 0
        self._pages = dict[int, bytes]()

    def root(self) -> Table:
        """The root table."""
        return Table(self, self.integer(0, "I"))

    def integer(self, position: int, code: str) -> int:
        """The little-endian integer of struct code `code` at `position`; Refused (malformed) outside the buffer."""
        form = _INTEGERS[code]
        (value,) = form.unpack(self.read(position, form.size))
        return int(value)

    def read(self, position: int, length: int) -> bytes:
        """`length` bytes at `position`. The caller bounds `length`."""
        self._steps += 1 + length // 4
        if self._steps > MAX_STEPS:
            raise Refused(Reason.LIMIT, "a FlatBuffer of more parts than are read")
        if position < 0 or position + length > self.size:
            raise Refused(
                Reason.MALFORMED, f"an offset leads outside the FlatBuffer of {self.size} bytes", f"byte {position}"
            )
        page = position // _PAGE
        within = position - page * _PAGE
        if within + length <= _PAGE:
            return self._page(page)[within : within + length]
        return self.file.read(self.start + position, length)

    def _page(self, page: int) -> bytes:
        if page not in self._pages:
            if len(self._pages) >= _MAX_PAGES:
                self._pages.clear()
            offset = page * _PAGE
            self._pages[page] = self.file.read(self.start + offset, min(_PAGE, self.size - offset))
        return self._pages[page]


class Table:
    """One table. A field is identified by its slot: its position in the schema, from 0."""

    __slots__ = ("_fields", "buffer", "position")

    def __init__(self, buffer: FlatBuffer, position: int) -> None:
        self.buffer = buffer
        self.position = position
        vtable = position - buffer.integer(position, "i")
        size = buffer.integer(vtable, "H")
        if size < 4 or size % 2 or size > _PAGE:
            raise Refused(Reason.MALFORMED, f"a FlatBuffer table lists its fields in {size} bytes", f"byte {vtable}")
        words = struct.unpack(f"<{size // 2}H", buffer.read(vtable, size))
        self._fields = words[2:]
        if any(offset >= words[1] for offset in self._fields if offset):
            raise Refused(Reason.MALFORMED, "a FlatBuffer field lies outside its table", f"byte {position}")

    def _field(self, slot: int) -> int | None:
        offset = self._fields[slot] if slot < len(self._fields) else 0
        return self.position + offset if offset else None

    def integer(self, slot: int, code: str, default: int = 0) -> int:
        """A number, or the schema's default."""
        field = self._field(slot)
        return default if field is None else self.buffer.integer(field, code)

    def table(self, slot: int) -> Table | None:
        """A table inside this one."""
        target = self._target(slot)
        return None if target is None else Table(self.buffer, target)

    def vector(self, slot: int, item_size: int) -> tuple[int, int]:
        """(position of the first item, number of items); (0, 0) if there is none."""
        target = self._target(slot)
        if target is None:
            return 0, 0
        count = self.buffer.integer(target, "I")
        if target + 4 + count * item_size > self.buffer.size:
            raise Refused(Reason.MALFORMED, f"a vector of {count} items passes the end", f"byte {target}")
        return target + 4, count

    def numbers(self, slot: int, code: str, limit: int) -> tuple[float, ...]:
        """A vector of numbers of a struct code; Refused (limit) for more than `limit`."""
        size = struct.calcsize(f"<{code}")
        position, count = self.vector(slot, size)
        if count > limit:
            raise Refused(Reason.LIMIT, f"{count} numbers where few belong", f"byte {position}")
        return struct.unpack(f"<{count}{code}", self.buffer.read(position, count * size)) if count else ()

    def integers(self, slot: int, code: str, limit: int) -> tuple[int, ...]:
        """The same for integer struct codes."""
        return tuple(int(number) for number in self.numbers(slot, code, limit))

    def tables(self, slot: int, limit: int) -> Iterator[Table]:
        """The tables of a vector; Refused (limit) for more than `limit`."""
        position, count = self.vector(slot, 4)
        if count > limit:
            raise Refused(Reason.LIMIT, f"{count} tables where at most {limit} are read", f"byte {position}")
        for place in range(position, position + 4 * count, 4):
            yield Table(self.buffer, place + self.buffer.integer(place, "I"))

    def text(self, slot: int) -> str:
        """A string, "" if there is none; Refused if it is not UTF-8 (malformed) or too long (limit)."""
        position, length = self.vector(slot, 1)
        buffer = self.buffer
        buffer.text_bytes += length
        if length > MAX_TEXT_BYTES or buffer.text_bytes > MAX_TEXT_TOTAL:
            raise Refused(Reason.LIMIT, "the file's names are longer than anything sensible", f"byte {position}")
        try:
            return buffer.read(position, length).decode()
        except UnicodeDecodeError as error:
            raise Refused(Reason.MALFORMED, "a name is not UTF-8", f"byte {position}") from error

    def _target(self, slot: int) -> int | None:
        field = self._field(slot)
        return None if field is None else field + self.buffer.integer(field, "I")
