"""Reads GGUF files, versions 2 and 3 (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).

Tensors of ggml's block-quantised types get an obstacle: if they are convolutions, they are listed as not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import ClassVar

from filterzoo import DTYPES, FileFacts, Format, RandomAccessFile, Reason, Refused, Span, Tensor, hookimpl

filterzoo_api = 1

MAGIC = b"GGUF"
MAX_HEADER = 32_000_000
MAX_NAME = 1000
MAX_NESTING = 4
READ = 1 << 16
"""Bytes of the first read. It covers the whole table of most vision networks."""

_DTYPES = {0: "F32", 1: "F16", 24: "I8", 25: "I16", 26: "I32", 27: "I64", 28: "F64", 30: "BF16"}
_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


class Gguf(Format):
    """A `.gguf` file: metadata, then a table of tensors, then their aligned bytes."""

    name: ClassVar[str] = "gguf"
    framework: ClassVar[str | None] = "ggml"

    def accepts(self, head: bytes, name: str) -> bool:
        """Whether the magic matches and the version is below 256, which implies little endian."""
        del name
        return head.startswith(MAGIC) and head[5:8] == b"\0\0\0"

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """The tensors, in the order of the table. The fastest axis is stored first: (width, height, in, out)."""
        table = _read_table(file)
        names: set[str] = set()
        for entry in table.entries:
            if entry.name in names:
                raise Refused(Reason.MALFORMED, "two tensors of one name", ascii(entry.name)[:80])
            names.add(entry.name)
            if entry.type in _DTYPES:
                yield _tensor(entry, table, file)
            else:
                obstacle = f"numbers of ggml's type {entry.type}"
                shape = entry.axes[::-1]
                yield Tensor(name=entry.name, dtype="F32", shape=shape, span=Span(0, 0), obstacle=obstacle)

    def facts(self, file: RandomAccessFile) -> FileFacts:
        """The licence that the file states."""
        licence = _read_table(file).facts.get("general.license")
        return FileFacts(framework=self.framework, licence=licence if isinstance(licence, str) else None)


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    axes: tuple[int, ...]
    type: int
    offset: int


@dataclass(frozen=True, slots=True)
class _Table:
    facts: dict[str, object]
    entries: list[_Entry]
    data_offset: int
    alignment: int


class _Header:
    """Reads the header sequentially, in few byte ranges of growing length."""

    def __init__(self, file: RandomAccessFile) -> None:
        self._file = file
        self._data = b""
        self.at = 0

    def take(self, length: int) -> bytes:
        """The next bytes; Refused if the file or MAX_HEADER ends before."""
        end = self.at + length
        self._file.check_bounds(self.at, length)
        if end > MAX_HEADER:
            raise Refused(Reason.LIMIT, f"a table of more than {MAX_HEADER} bytes", f"byte {self.at}")
        if end > len(self._data):
            wanted = max(end - len(self._data), len(self._data), READ)
            self._data += self._file.read(len(self._data), min(wanted, self._file.size - len(self._data)))
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def number(self, form: str) -> int:
        """The next number. form: its format for `struct`."""
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def text(self) -> str:
        """The next string: its length, then UTF-8."""
        try:
            return self.take(self.number("<Q")).decode()
        except UnicodeDecodeError:
            raise Refused(Reason.MALFORMED, "a text that is not UTF-8", f"byte {self.at}") from None

    def value(self, kind: int, nesting: int = 0) -> object:
        """The next metadata value. Arrays are skipped, because none is needed here."""
        if kind == _STRING:
            return self.text()
        if kind in _NUMBERS:
            return struct.unpack(_NUMBERS[kind], self.take(struct.calcsize(_NUMBERS[kind])))[0]
        if kind != _ARRAY or nesting == MAX_NESTING:
            raise Refused(Reason.MALFORMED, f"a fact of type {kind}", f"byte {self.at}")
        item, count = self.number("<I"), self.number("<Q")
        if item in _NUMBERS:
            self.take(count * struct.calcsize(_NUMBERS[item]))
            return None
        for _ in range(count):
            self.value(item, nesting + 1)
        return None


def _read_table(file: RandomAccessFile) -> _Table:
    header = _Header(file)
    header.take(len(MAGIC))
    version = header.number("<I")
    if version not in {2, 3}:
        raise Refused(Reason.UNSUPPORTED, f"GGUF version {version}")
    n_tensors, n_facts = header.number("<Q"), header.number("<Q")
    facts: dict[str, object] = {}
    for _ in range(n_facts):
        key = header.text()
        facts[key] = header.value(header.number("<I"))
    entries = [_entry(header) for _ in range(n_tensors)]
    alignment = facts.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 8 <= alignment <= 1 << 20 or alignment % 8:
        raise Refused(Reason.MALFORMED, "general.alignment is no multiple of 8", "general.alignment")
    return _Table(facts, entries, -(-header.at // alignment) * alignment, alignment)


def _entry(header: _Header) -> _Entry:
    name, rank = header.text(), header.number("<I")
    if len(name) > MAX_NAME or rank > 8:
        raise Refused(Reason.MALFORMED, f"a tensor with {rank} axes and a name of {len(name)}", f"byte {header.at}")
    axes = tuple(header.number("<Q") for _ in range(rank))
    return _Entry(name, axes, header.number("<I"), header.number("<Q"))


def _tensor(entry: _Entry, table: _Table, file: RandomAccessFile) -> Tensor:
    dtype = _DTYPES[entry.type]
    span = Span(table.data_offset + entry.offset, prod(entry.axes) * DTYPES[dtype].size)
    if entry.offset % table.alignment:
        raise Refused(Reason.MALFORMED, f"its bytes are not aligned to {table.alignment}", ascii(entry.name)[:80])
    file.check_bounds(span.offset, span.length)
    return Tensor(name=entry.name, dtype=dtype, shape=entry.axes[::-1], span=span)


@hookimpl
def filterzoo_formats() -> list[Format]:
    """See `filterzoo.hooks`."""
    return [Gguf()]
