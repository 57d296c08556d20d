"""A strict index of a zip file: the byte range of each member (PKWARE APPNOTE 6.3).

All zip readers must see the same content, so every field that the format stores twice has to agree.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from filterzoo import BrokenDataError, Codec, RandomAccessFile, Reason, Refused, StoredRange, inflate
from filterzoo_plugins.encodings.names import show

MAX_ENTRIES = 200_000
MAX_DIRECTORY_BYTES = 64 << 20
TAIL_BYTES = 64 << 10
"""Bytes that are read first, from the end: enough for the directory of about 700 members."""
NEAR_HEADERS = 2 << 10
"""Local headers with at most this gap between them are read together."""
NEAR_MEMBERS = 16 << 10
"""Members with at most this gap between them are read together."""
GROUP_BYTES = 256 << 10
"""Longest such read, in bytes."""
PIECE = 1 << 20
"""Bytes that are read at a time to check a member."""
BEHIND_HEADER = 512
"""Bytes of a remote member that are read with its local header: padding, and the member's own header (npy)."""

STORED = 0
DEFLATED = 8

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_MAX16 = 0xFFFF
_MAX32 = 0xFFFFFFFF
_ENCRYPTED = 0x2041
"""Bits 0, 6 and 13: encrypted, strongly encrypted, encrypted directory."""
_PATCHED = 0x20
_DESCRIPTOR = 0x8
_UTF8 = 0x800
_OUTSIDE = re.compile(r"(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:|\0")


_Entry = tuple[str, bytes, int, int, int, int, int, int, bool]
"""The fields of a `Member` except its end."""


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One file in the zip, as in the central directory; `header` is the offset of its local header."""

    name: str
    raw_name: bytes
    header: int
    length: int
    size: int
    crc32: int
    method: int
    flags: int
    is_zip64: bool
    end: int
    """The offset of the next member or of the directory."""

    @property
    def earliest(self) -> int:
        """The first byte at which its data can start."""
        return self.header + _LOCAL.size + len(self.raw_name)


class ZipIndex:
    """The members of a zip file by name, in the directory's order. Refused if the file contradicts itself.

    Local headers are compared with the directory when a member is used; `check_headers` compares all of them.
    """

    def __init__(self, file: RandomAccessFile) -> None:
        self._file = file
        self._tail_at = max(0, file.size - TAIL_BYTES)
        self._tail = file.read(self._tail_at, file.size - self._tail_at)
        at, size, count = self._directory()
        self.directory = at
        members = _parse_directory(self._bytes(at, size), count, at)
        self.members = {member.name: member for member in members}
        if len(self.members) != count:
            raise Refused(Reason.UNSAFE, "the zip names a member twice", _repeated(members))
        self._offsets: dict[int, int] = {}

    def offset(self, member: ZipMember) -> int:
        """The offset of a member's data, by its local header."""
        return self.offsets([member])[0]

    def offsets(self, members: Sequence[ZipMember]) -> list[int]:
        """The offset of each member's data; neighbouring local headers are read together."""
        unknown = [member for member in members if member.header not in self._offsets]
        if self._file.is_remote and len(unknown) > 1:
            self._file.will_read([(m.header, min(m.earliest + BEHIND_HEADER, m.end) - m.header) for m in unknown])
        for group in _groups(unknown, lambda member: member.earliest, NEAR_HEADERS, GROUP_BYTES):
            start = group[0].header
            byte_range = self._bytes(start, group[-1].earliest - start)
            for member in group:
                self._offsets[member.header] = _data_offset(member, byte_range, member.header - start)
        return [self._offsets[member.header] for member in members]

    def check_headers(self) -> None:
        """Refused unless every local header agrees with the directory."""
        self.offsets(list(self.members.values()))

    def likely_offset(self, member: ZipMember) -> int:
        """The offset of a member's data, without a read if the usual writers leave only one possibility.

        A member that ends where the next begins can start at a single offset only: torch aligns it to 64 bytes,
        Python's zipfile writes it right after the name. The record's CRC then confirms it.
        """
        if member.header in self._offsets:
            return self._offsets[member.header]
        descriptor = 0 if not member.flags & _DESCRIPTOR else 24 if member.is_zip64 else 16
        start = member.end - descriptor - member.length
        if member.earliest < start <= member.earliest + _MAX16 and start % 64 == 0 or start == member.earliest:  # noqa: RUF021  # two writers
            return start
        return self.offset(member)

    def record(self, member: ZipMember, offset: int) -> StoredRange:
        """The member as a byte range of the file with its CRC; Refused (unsupported) for another compression method."""
        codec = {STORED: Codec.RAW, DEFLATED: Codec.DEFLATE}.get(member.method)
        if codec is None:
            raise Refused(Reason.UNSUPPORTED, f"zip compression method {member.method}", show(member.name))
        return StoredRange(offset, member.length, member.size, codec, member.crc32)

    def read(self, member: ZipMember, limit: int) -> bytes:
        """The bytes of a member, at most `limit`, with the CRC checked."""
        return self.read_all([member], limit)[0]

    def read_all(self, members: Iterable[ZipMember], limit: int) -> list[bytes]:
        """The bytes of members, together at most `limit`, with the CRCs checked; neighbours are read together."""
        wanted = list(members)
        if max(sum(member.size for member in wanted), sum(member.length for member in wanted)) > limit:
            raise Refused(Reason.LIMIT, f"more than {limit} bytes to read", show(wanted[0].name))
        contents: dict[int, bytes] = {}
        for group in _groups(wanted, _reach, NEAR_MEMBERS, limit):
            start, end = group[0].header, _reach(group[-1])
            byte_range = self._bytes(start, end - start)
            for member in group:
                at = _data_offset(member, byte_range, member.header - start)
                self._offsets[member.header] = at
                contents[member.header] = _decoded(member, byte_range[at - start : at - start + member.length])
        return [contents[member.header] for member in wanted]

    def check(self, member: ZipMember) -> None:
        """Read all of a member, piece by piece; Refused (damaged) if the CRC does not match.

        For members that determine the file's content and are not read completely later.
        """
        crc = size = 0
        for piece in _inflated(member, self._pieces(member)):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
        if size != member.size or crc != member.crc32:
            raise Refused(Reason.DAMAGED, "a zip member whose CRC-32 does not fit its bytes", show(member.name))

    def _pieces(self, member: ZipMember) -> Iterator[bytes]:
        start = self.offset(member)
        for at in range(start, start + member.length, PIECE):
            yield self._bytes(at, min(PIECE, start + member.length - at))

    def _bytes(self, offset: int, length: int) -> bytes:
        """The bytes, from the tail that was read first if it covers them."""
        if offset >= self._tail_at and offset + length <= self._file.size:
            return self._tail[offset - self._tail_at : offset - self._tail_at + length]
        return self._file.read(offset, length)

    def _directory(self) -> tuple[int, int, int]:
        """Offset, length and number of entries of the central directory."""
        end = self._end()
        _, disk, first_disk, here, count, size, at, _ = _END.unpack_from(self._tail, end - self._tail_at)
        if end >= _LOCATOR64.size and self._bytes(end - _LOCATOR64.size, 4) == b"PK\6\7":
            end, (disk, first_disk, here, count, size, at) = self._end64(end, (disk, first_disk, here, count, size, at))
        if disk or first_disk or here != count:
            raise Refused(Reason.UNSUPPORTED, "a zip of several volumes")
        if count > MAX_ENTRIES or size > MAX_DIRECTORY_BYTES:
            raise Refused(Reason.LIMIT, f"a zip directory of {count} entries and {size} bytes")
        if at + size != end:
            raise Refused(Reason.UNSAFE, "bytes before the zip or behind its directory", f"byte {at + size}")
        return at, size, count

    def _end(self) -> int:
        """The offset of the end-of-directory record whose comment ends exactly at the end of the file."""
        at = len(self._tail)
        while (at := self._tail.rfind(b"PK\5\6", 0, at)) >= 0:
            if at + _END.size <= len(self._tail):
                comment = _END.unpack_from(self._tail, at)[-1]
                if at + _END.size + comment == len(self._tail):
                    return self._tail_at + at
            at += 3  # the next search ends before this one
        end = self._tail_at + len(self._tail)
        raise Refused(Reason.MALFORMED, "no end of a zip directory where the file ends: cut off?", f"byte {end}")

    def _end64(self, end: int, small: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """The ZIP64 record and its fields; fields that the small record also has must agree."""
        _, disk, at, disks = _LOCATOR64.unpack(self._bytes(end - _LOCATOR64.size, _LOCATOR64.size))
        if disk or disks > 1 or at + _END64.size > end - _LOCATOR64.size:
            raise Refused(Reason.MALFORMED, "a ZIP64 locator that points nowhere", f"byte {end - _LOCATOR64.size}")
        magic, length, _, _, *fields = _END64.unpack(self._bytes(at, _END64.size))
        if magic != b"PK\6\6" or at + 12 + length != end - _LOCATOR64.size:
            raise Refused(Reason.MALFORMED, "no ZIP64 end of directory where the locator points", f"byte {at}")
        for value, wide, unknown in zip(small, fields, (*[_MAX16] * 4, *[_MAX32] * 2), strict=True):
            if value not in {unknown, wide}:
                raise Refused(Reason.UNSAFE, "the two ends of the zip directory disagree", f"byte {at}")
        return at, tuple(fields)


def _parse_directory(directory: bytes, count: int, directory_at: int) -> list[ZipMember]:
    entries = []
    at = 0
    for _ in range(count):
        if at + _CENTRAL.size > len(directory) or directory[at : at + 4] != b"PK\1\2":
            raise Refused(Reason.MALFORMED, "a broken zip directory", f"byte {directory_at + at}")
        fields = _CENTRAL.unpack_from(directory, at)
        name_at = at + _CENTRAL.size
        extra_at = name_at + fields[10]
        at = extra_at + fields[11] + fields[12]
        if at > len(directory):
            raise Refused(Reason.MALFORMED, "a broken zip directory", f"byte {directory_at + name_at}")
        entries.append(_entry(fields, directory[name_at:extra_at], directory[extra_at : extra_at + fields[11]]))
    if at != len(directory):
        raise Refused(Reason.UNSAFE, "the zip directory holds more than its entries", f"byte {directory_at + at}")
    return _members(entries, directory_at)


def _entry(fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> _Entry:
    _, _, _, flags, method, _, _, crc, length, size, _, _, _, disk, _, _, header = fields
    name = _name(raw_name, flags)
    if flags & (_ENCRYPTED | _PATCHED):
        raise Refused(Reason.UNSUPPORTED, "an encrypted or patched zip member", show(name))
    wide = [value == _MAX32 for value in (size, length, header)]
    if any(wide):
        values = iter(_zip64_values(extra, sum(wide), name))
        size, length, header = (
            next(values) if is_wide else value for is_wide, value in zip(wide, (size, length, header), strict=True)
        )
    if disk not in {0, _MAX16}:
        raise Refused(Reason.UNSUPPORTED, "a zip of several volumes", show(name))
    if method == STORED and length != size:
        raise Refused(Reason.MALFORMED, "a stored zip member of two sizes", show(name))
    return name, raw_name, header, length, size, crc, method, flags, any(wide)


def _name(raw_name: bytes, flags: int) -> str:
    try:
        name = raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise Refused(Reason.MALFORMED, "a zip member whose name is not text", ascii(raw_name)[:80]) from error
    if not name or _OUTSIDE.search(name):
        raise Refused(Reason.UNSAFE, "a zip member named outside the zip", show(name))
    return name


def _zip64_values(extra: bytes, count: int, name: str) -> tuple[int, ...]:
    """The 64-bit values of fields that overflow in the entry (APPNOTE 4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<HH", extra, at)
        if tag == 1 and 8 * count <= length <= len(extra) - at - 4:
            return struct.unpack_from(f"<{count}Q", extra, at + 4)
        at += 4 + length
    raise Refused(Reason.MALFORMED, "a zip member without the ZIP64 sizes it refers to", show(name))


def _members(entries: list[_Entry], directory_at: int) -> list[ZipMember]:
    """Members in the directory's order; Refused if two share bytes, or if other bytes precede them."""
    headers = [*sorted(entry[2] for entry in entries), directory_at]
    if headers[0] != 0:
        raise Refused(Reason.UNSAFE, "bytes before the first zip member", "byte 0")
    ends = dict(pairwise(headers))
    if len(ends) != len(entries):
        raise Refused(Reason.UNSAFE, "zip members that overlap", "the zip directory")
    members = [ZipMember(*entry, ends[entry[2]]) for entry in entries]
    for member in members:
        if member.earliest + member.length > directory_at:
            raise Refused(Reason.MALFORMED, "a zip member that reaches past the end of the data", show(member.name))
        if member.earliest + member.length > member.end:
            raise Refused(Reason.UNSAFE, "zip members that overlap", show(member.name))
    return members


def _groups(
    members: list[ZipMember], reach: Callable[[ZipMember], int], near: int, longest: int
) -> Iterable[list[ZipMember]]:
    """Members in file order, neighbours grouped; `reach` returns the end of a member's wanted bytes."""
    group: list[ZipMember] = []
    for member in sorted(members, key=lambda entry: entry.header):
        is_near = bool(group) and member.header - reach(group[-1]) <= near
        if group and not (is_near and reach(member) - group[0].header <= longest):
            yield group
            group = []
        group.append(member)
    if group:
        yield group


def _reach(member: ZipMember) -> int:
    """The largest possible end of its local header and data, with a generous extra field."""
    return min(member.end, member.earliest + _MAX16 + member.length)


def _data_offset(member: ZipMember, byte_range: bytes, at: int) -> int:
    """The offset of the member's data, by its local header, which must agree with the directory."""
    if at + _LOCAL.size > len(byte_range):
        raise Refused(Reason.MALFORMED, "no local zip header", show(member.name))
    magic, _, flags, method, _, _, crc, length, size, name_length, extra = _LOCAL.unpack_from(byte_range, at)
    if magic != b"PK\3\4":
        raise Refused(Reason.MALFORMED, "no local zip header", show(member.name))
    name = byte_range[at + _LOCAL.size : at + _LOCAL.size + name_length]
    if name != member.raw_name or name_length != len(member.raw_name):
        raise Refused(
            Reason.UNSAFE, f"the local zip header names another member, {ascii(name)[:80]}", show(member.name)
        )
    if method != member.method or (flags ^ member.flags) & (_ENCRYPTED | _PATCHED | _DESCRIPTOR):
        raise Refused(Reason.UNSAFE, "the local zip header disagrees with the directory", show(member.name))
    stated = ((crc, member.crc32), (length, member.length), (size, member.size))
    if not flags & _DESCRIPTOR and any(local not in {central, _MAX32} for local, central in stated):
        raise Refused(Reason.UNSAFE, "the local zip header disagrees with the directory", show(member.name))
    start = member.earliest + int(extra)
    if start + member.length > member.end:
        raise Refused(Reason.UNSAFE, "a zip member that overlaps the next", show(member.name))
    return start


def _decoded(member: ZipMember, raw: bytes) -> bytes:
    if member.method not in {DEFLATED, STORED}:
        raise Refused(Reason.UNSUPPORTED, f"zip compression method {member.method}", show(member.name))
    content = b"".join(_inflated(member, [raw]))
    if len(content) != member.size:
        raise Refused(Reason.MALFORMED, "a zip member that is not as long as it says", show(member.name))
    if zlib.crc32(content) != member.crc32:
        raise Refused(Reason.DAMAGED, "a zip member whose CRC-32 does not fit its bytes", show(member.name))
    return content


def _inflated(member: ZipMember, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The decoded bytes, at most one piece more than the stated size."""
    if member.method == STORED:
        yield from pieces
        return
    size = 0
    try:
        for decoded in inflate(pieces, -zlib.MAX_WBITS):
            yield decoded
            size += len(decoded)
            if size > member.size:
                return
    except BrokenDataError as error:
        raise Refused(Reason.DAMAGED, str(error), show(member.name)) from error


def _repeated(members: list[ZipMember]) -> str:
    seen: set[str] = set()
    for member in members:
        if member.name in seen:
            return show(member.name)
        seen.add(member.name)
    return ""
