"""Zip archives of model files, read with the same strict index as torch and NumPy files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from filterzoo import Archive, Member, Packing, RandomAccessFile, Reason, Refused, hookimpl
from filterzoo_plugins.encodings.names import show
from filterzoo_plugins.encodings.zip import DEFLATED, STORED, ZipIndex

_PACKING = {STORED: Packing.STORED, DEFLATED: Packing.DEFLATE}


class Zip(Archive):
    """A zip whose members are stored or deflated."""

    name: ClassVar[str] = "zip"

    def accepts(self, head: bytes, name: str) -> bool:
        """By the magic bytes of a first member."""
        del name
        return head.startswith(b"PK\3\4")

    def members(self, file: RandomAccessFile) -> Iterator[Member]:
        """All members except folders."""
        index = ZipIndex(file)
        files = [member for member in index.members.values() if not member.name.endswith("/")]
        for member, offset in zip(files, index.offsets(files), strict=True):
            if member.method not in _PACKING:
                raise Refused(Reason.UNSUPPORTED, f"zip compression method {member.method}", show(member.name))
            yield Member(
                name=member.name,
                offset=offset,
                length=member.length,
                packing=_PACKING[member.method],
                size=member.size,
                crc32=member.crc32,
            )


@hookimpl
def filterzoo_archives() -> Iterable[Archive]:
    """See `filterzoo.hooks`."""
    return [Zip()]
