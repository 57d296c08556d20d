"""Identifies model files of known but unsupported formats, so that they are not reported as broken."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from filterzoo import HEAD_BYTES, Format, RandomAccessFile, Reason, Refused, Tensor, hookimpl
from filterzoo_plugins.formats.unread.signatures import kind_of


class Unread(Format):
    """All formats in `signatures`: refused as unsupported, by name. Tried if no other format accepts a file."""

    name: ClassVar[str] = "unread"
    is_last_resort: ClassVar[bool] = True
    _kind: str | None = None

    def accepts(self, head: bytes, name: str) -> bool:
        """Whether the bytes, or the file's name for raw data, are of a known format."""
        self._kind = kind_of(head, name)
        return self._kind is not None

    def index(self, file: RandomAccessFile) -> Iterator[Tensor]:
        """Refused (unsupported), with the name of the format."""
        kind = self._kind or kind_of(file.read(0, min(HEAD_BYTES, file.size)), "")
        raise Refused(Reason.UNSUPPORTED, f"{kind or 'a known kind of file'}, which is not read")


@hookimpl
def filterzoo_formats() -> list[Format]:
    """The format that only refuses."""
    return [Unread()]
