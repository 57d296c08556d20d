"""TensorFlow checkpoints since version 1.0: an index (a sorted table), and data files.

The layout: tensor_bundle.proto and tensor_bundle.h. The empty key holds the header; every other key the entry of a
tensor.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from filterzoo import DTYPES, Layout, RandomAccessFile, Reason, Refused, Span, Tensor
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.protobuf import WireReader, length_tag, signed, varint_tag
from filterzoo_plugins.encodings.sorted_table import SortedTable
from filterzoo_plugins.formats.tensorflow.types import DTYPES_BY_NUMBER, STRING, read_shape

ENDING = ".index"
MAX_SHARDS = 4096
OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MAX_OBJECTS_BYTES = 64 << 20
_MAX_VARINT = 10


@dataclass(slots=True)
class BundleEntry:
    """The entry of a tensor in the index. is_sliced: its elements are in the entries of its slices."""

    key: str
    type: int = 0
    shape: tuple[int, ...] | None = ()
    shard: int = 0
    offset: int = 0
    length: int = 0
    is_sliced: bool = False


class Variable(NamedTuple):
    """An object of a checkpoint: its number, the key of its data, and its name in TensorFlow."""

    object: int
    key: str
    name: str


@dataclass
class Bundle:
    """One checkpoint.

    `index` is its index file; `name` locates its data files, in the artifact's folder or below.
    """

    artifact: RandomAccessFile
    index: RandomAccessFile
    name: str
    """Path of the index relative to the artifact's folder, without its ending."""
    entries: dict[str, BundleEntry] = field(default_factory=dict)
    _shards: int = 0
    _sides: dict[str, RandomAccessFile] = field(default_factory=dict)
    _files: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def read(self) -> None:
        """Read the index; Refused (malformed) if it is not one."""
        reader = WireReader(self.index)
        for place, entry in enumerate(SortedTable(self.index).entries()):
            end = entry.offset + entry.length
            if place == 0:
                if entry.key:
                    raise Refused(Reason.MALFORMED, "a checkpoint without a header", f"byte {entry.offset}")
                self._header(reader, entry.offset, end)
            elif not entry.key.startswith(b"\0"):  # keys with \0 are slices of tensors stored in parts
                key = _text(entry.key, entry.offset)
                self.entries[key] = _entry(reader, key, entry.offset, end)
        if not self._shards:
            raise Refused(Reason.MALFORMED, "a checkpoint without a header", "byte 0")

    def tensor(self, entry: BundleEntry, name: str) -> Tensor:
        """The array of an entry; anything but numbers is listed as bytes."""
        where, dtype = show(entry.key), DTYPES_BY_NUMBER.get(entry.type)
        if entry.is_sliced:
            raise Refused(Reason.UNSUPPORTED, "a variable that is stored in slices", where)
        if not 0 <= entry.shard < self._shards:
            raise Refused(Reason.MALFORMED, f"data file {entry.shard} of {self._shards}", where)
        side = f"{self.name}.data-{entry.shard:05}-of-{self._shards:05}"
        if entry.length < 0 or entry.offset < 0 or entry.offset + entry.length > self._side(side).size:
            raise Refused(Reason.MALFORMED, "its numbers lie outside the data file", where)
        span = Span(entry.offset, entry.length, side) if entry.length else Span(0, 0, side)
        if dtype is None:
            return Tensor(name=name, dtype="U8", shape=(entry.length,), span=span, layout=Layout.OTHER)
        if entry.shape is None or -1 in entry.shape or prod(entry.shape) * DTYPES[dtype].size != entry.length:
            detail = f"{entry.length} bytes for {dtype} of shape {entry.shape}"
            raise Refused(Reason.MALFORMED, detail[:160], where)
        return Tensor(name=name, dtype=dtype, shape=entry.shape, span=span, layout=Layout.OTHER)

    def objects(self) -> list[Variable]:
        """The variables among the objects of a checkpoint; [] if it has no object graph."""
        entry = self.entries.get(OBJECTS)
        if entry is None or entry.type != STRING or entry.length > _MAX_OBJECTS_BYTES:
            return []
        span = self.tensor(entry, OBJECTS).span
        reader = WireReader(self._side(span.side or ""))
        # The entry is a text: its length, the checksum of the length, and its bytes.
        length = entry.length - _MAX_VARINT
        for width in range(1, _MAX_VARINT + 1):
            length = entry.length - width - 4
            if length >= 0 and _width(length) == width:
                break
        end = span.offset + span.length
        return list(_variables(reader, end - length, end)) if length > 0 else []

    def close(self) -> None:
        """Close the data files."""
        self._files.close()

    def _side(self, name: str) -> RandomAccessFile:
        if name not in self._sides:
            self._sides[name] = self._files.enter_context(self.artifact.beside(name))
        return self._sides[name]

    def _header(self, reader: WireReader, start: int, end: int) -> None:
        for tag, value, _ in reader.fields(start, end):
            if tag == varint_tag(1):
                self._shards = value
            elif tag == varint_tag(2) and value:
                raise Refused(Reason.UNSUPPORTED, "a checkpoint with big-endian numbers", f"byte {start}")
        if not 1 <= self._shards <= MAX_SHARDS:
            reason = Reason.LIMIT if self._shards else Reason.MALFORMED
            raise Refused(reason, f"a checkpoint of {self._shards} data files", f"byte {start}")


def _entry(reader: WireReader, key: str, start: int, end: int) -> BundleEntry:
    entry = BundleEntry(key)
    for tag, value, offset in reader.fields(start, end):
        match tag:
            case 0x08:
                entry.type = value
            case 0x12:
                entry.shape = read_shape(reader, offset, offset + value, show(key))
            case 0x18:
                entry.shard = signed(value)
            case 0x20:
                entry.offset = signed(value)
            case 0x28:
                entry.length = signed(value)
            case 0x3A:
                entry.is_sliced = True
    return entry


def _variables(reader: WireReader, start: int, end: int) -> Iterator[Variable]:
    """The variables of a TrackableObjectGraph (trackable_object_graph.proto)."""
    number = -1
    for node, length, at in reader.fields(start, end):
        if node != length_tag(1):
            continue
        number += 1
        for tag, size, offset in reader.fields(at, at + length):
            if tag != length_tag(2):
                continue
            texts = {
                inner: reader.text(place, count)
                for inner, count, place in reader.fields(offset, offset + size)
                if inner in {length_tag(2), length_tag(3)}
            }
            if texts.get(length_tag(3)):
                yield Variable(number, texts[length_tag(3)], texts.get(length_tag(2), ""))


def _text(key: bytes, offset: int) -> str:
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise Refused(Reason.MALFORMED, "a name is not UTF-8", f"byte {offset}") from error


def _width(value: int) -> int:
    return max(1, (value.bit_length() + 6) // 7)
