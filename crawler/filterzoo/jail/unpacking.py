"""In the jail: finds the one model inside an archive, and unpacks it piece by piece if it is compressed."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from filterzoo.archive import WHOLE, Archive, Member, Packing
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile, Window, check_side_name
from filterzoo.format import HEAD_BYTES, Format
from filterzoo.inflating import BrokenDataError, inflate
from filterzoo.layers.selection.names import is_optimiser

PIECE = 1 << 20
"""Bytes that are unpacked at a time."""
XZ_MEMORY = 256 << 20
_ZLIB_BITS = {Packing.DEFLATE: -zlib.MAX_WBITS, Packing.GZIP: 16 + zlib.MAX_WBITS}
_MOST_LINKS = 40
"""Most consecutive links, as in Linux."""
SNIFFED = 10_000
"""Most members whose first bytes are read."""


def find_model(
    file: RandomAccessFile, archive: Archive, openers: Iterable[Format | Archive], wanted: str | None
) -> Member:
    """The member called `wanted`, or the only one, besides optimiser states, that a format or archive accepts.

    An archive that is compressed as a whole has one member, and the wanted one is inside.
    """
    members = list(archive.members(file))
    is_whole = len(members) == 1 and members[0].packing in WHOLE
    if wanted is not None and not is_whole:
        named = [member for member in members if _plain(member.name) == _plain(wanted)]
        if not named:
            target = _target_of(archive.aliases(file), _plain(wanted))
            named = [member for member in members if _plain(member.name) == target]
        if len(named) != 1:
            raise Refused(Reason.MALFORMED, f"the archive has {len(named)} members of that name", ascii(wanted)[:200])
        return named[0]
    if len(members) > SNIFFED:
        raise Refused(Reason.LIMIT, f"{len(members)} members, and none is named")
    known = list(openers)
    heads = [(member, head(file, member)) for member in members]
    models = _accepted(heads, [opener for opener in known if not _is_last_resort(opener)])
    broken = [member.name for member, first in heads if first is None]
    if broken and not models:
        raise Refused(Reason.DAMAGED, f"a {archive.name} archive with broken members", ascii(broken[0])[:200])
    models = [model for model in models if not _is_part(model, models, known)]
    # A format of last resort is asked about the first such member.
    models = models or _accepted(heads, filter(_is_last_resort, known))[:1]
    models = _networks(models, {member.name for member in members}) if len(models) > 1 else models
    if len(models) != 1:
        names = ", ".join(ascii(member.name)[:60] for member in models[:3])
        what = f"{len(models)} model files, name one ({names})" if models else "no model file"
        reason = Reason.UNSUPPORTED if models else Reason.UNKNOWN_FORMAT
        raise Refused(reason, f"a {archive.name} archive with {what}")
    return models[0]


def _plain(name: str) -> str:
    """A member's name without the prefix `./` of tar."""
    return name.removeprefix("./")


def _target_of(aliases: Mapping[str, str], name: str) -> str:
    """The member that a chain of links points to."""
    for _ in range(_MOST_LINKS):
        if name not in aliases:
            break
        name = _plain(aliases[name])
    return name


def _networks(models: list[Member], names: set[str]) -> list[Member]:
    """The members without optimiser states; of a stable-baselines3 archive only the policy."""
    left = [m for m in models if not any(map(is_optimiser, re.split(r"[._/]", m.name)))]
    if _STABLE_BASELINES in names or any(names >= known for known in _POLICIES):
        left = [member for member in left if member.name == "policy.pth"]
    return left or models


_STABLE_BASELINES = "_stable_baselines3_version"
_POLICIES = ({"policy.pth", "policy.optimizer.pth"}, {"data", "policy.pth", "pytorch_variables.pth"})


def _is_part(member: Member, models: Sequence[Member], openers: Sequence[Format | Archive]) -> bool:
    """Whether it is a part of another model: the index of a SavedModel's variables."""
    formats = [opener for opener in openers if isinstance(opener, Format)]
    return any(
        format_.includes(model.name, member.name) for model in models if model is not member for format_ in formats
    )


class MemberFile(Window):
    """A stored member of an archive; its side files are the other stored members of its folder and below."""

    def __init__(self, file: RandomAccessFile, member: Member, archive: Archive) -> None:
        super().__init__(file, member.offset, member.length)
        self.sides: dict[str, Member] = {}
        """The opened side files, by requested name."""
        self._archive_file = file
        self._member = member
        self._archive = archive

    def beside(self, name: str) -> RandomAccessFile:
        """See `RandomAccessFile.beside`. Refused (unsupported) for a member that is packed."""
        check_side_name(name)
        folder = self._member.name.rpartition("/")[0]
        wanted = f"{folder}/{name}" if folder else name
        found = [member for member in self._archive.members(self._archive_file) if member.name == wanted]
        if len(found) != 1:
            detail = f"side file: the archive has {len(found)} members of that name"
            raise Refused(Reason.MALFORMED, detail, ascii(wanted)[:80])
        if found[0].packing is not Packing.STORED:
            detail = "a model in an archive whose weights lie in other files, which are packed"
            raise Refused(Reason.UNSUPPORTED, detail, ascii(wanted)[:80])
        self.sides[name] = found[0]
        return Window(self._archive_file, found[0].offset, found[0].length)


def _accepted(heads: Sequence[tuple[Member, bytes | None]], openers: Iterable[Format | Archive]) -> list[Member]:
    known = list(openers)
    return [m for m, first in heads if first is not None and any(o.accepts(first, m.name) for o in known)]


def _is_last_resort(opener: Format | Archive) -> bool:
    return isinstance(opener, Format) and opener.is_last_resort


def head(file: RandomAccessFile, member: Member) -> bytes | None:
    """The first bytes of a member, unpacked; None if that fails."""
    # Bzip2 outputs nothing before the end of a block of 900 kB.
    packed = file.read(member.offset, min(member.length, PIECE if member.packing is Packing.BZIP2 else HEAD_BYTES))
    try:
        match member.packing:
            case Packing.STORED:
                return packed
            case Packing.DEFLATE | Packing.GZIP:
                return bytes(zlib.decompressobj(_ZLIB_BITS[member.packing]).decompress(packed, HEAD_BYTES))
            case Packing.BZIP2 | Packing.XZ:
                return bytes(_decompressor(member.packing).decompress(packed, HEAD_BYTES))
    except _BROKEN as error:
        _refuse_memory(error, member)
        return None


def unpack(file: RandomAccessFile, member: Member, limit: int) -> Iterator[bytes]:
    """The unpacked bytes, piece by piece, at most `limit` of them; size and CRC-32 are compared if known."""
    crc = size = 0
    for piece in _unpacked(file, member):
        size += len(piece)
        if size > limit:
            raise Refused(Reason.LIMIT, f"unpacks to more than {limit} bytes", ascii(member.name)[:200])
        crc = zlib.crc32(piece, crc)
        yield piece
    if member.size is not None and size != member.size:
        raise Refused(Reason.DAMAGED, f"unpacks to {size} bytes, not {member.size}", ascii(member.name)[:200])
    if member.crc32 is not None and crc != member.crc32:
        raise Refused(Reason.DAMAGED, "the CRC-32 of the unpacked bytes does not fit", ascii(member.name)[:200])


def _unpacked(file: RandomAccessFile, member: Member) -> Iterator[bytes]:
    offsets = range(member.offset, member.offset + member.length, PIECE)
    packed = (file.read(offset, min(PIECE, member.offset + member.length - offset)) for offset in offsets)
    try:
        if member.packing in _ZLIB_BITS:
            yield from inflate(packed, _ZLIB_BITS[member.packing], may_repeat=member.packing is Packing.GZIP)
        else:
            yield from _decompress(packed, member)
    except _BROKEN as error:
        _refuse_memory(error, member)
        raise Refused(Reason.DAMAGED, f"broken {member.packing} data: {error}", ascii(member.name)[:200]) from None


def _decompress(packed: Iterator[bytes], member: Member) -> Iterator[bytes]:
    """Decompress bzip2 or xz, which may be several concatenated streams."""
    machine = _decompressor(member.packing)
    for data in packed:
        while data or not machine.needs_input:
            yield machine.decompress(data, PIECE)
            data = b""  # noqa: PLW2901  # the machine holds it
            if machine.eof:
                data = machine.unused_data  # noqa: PLW2901  # what is left of it
                if not data:
                    break
                machine = _decompressor(member.packing)
    if not machine.eof:
        raise Refused(Reason.DAMAGED, "the compressed data end too early", ascii(member.name)[:200])


_BROKEN = (BrokenDataError, zlib.error, OSError, lzma.LZMAError, EOFError)


def _refuse_memory(error: Exception, member: Member) -> None:
    """Refused (limit) if valid data need more memory than allowed."""
    if needs_too_much_memory(error):
        raise Refused(
            Reason.LIMIT, f"unpacking it takes more than {XZ_MEMORY} bytes of memory", ascii(member.name)[:200]
        )


def needs_too_much_memory(error: Exception) -> bool:
    """Whether liblzma reached its `memlimit`: Python has no exception class for that (Modules/_lzmamodule.c)."""
    return isinstance(error, lzma.LZMAError) and "memory usage limit" in str(error).lower()


def _decompressor(packing: Packing) -> Any:
    return bz2.BZ2Decompressor() if packing is Packing.BZIP2 else lzma.LZMADecompressor(memlimit=XZ_MEMORY)
