"""Random access to the bytes of one artifact, wherever they lie."""

from __future__ import annotations

import os
import stat
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

from filterzoo.errors import Reason, Refused


class RandomAccessFile(ABC):
    """A file of known size that gives any stretch of its bytes. Use as a context manager, or call `close`."""

    size: int
    """Length in bytes."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; Refused (malformed) where the file does not have them."""

    def beside(self, name: str) -> RandomAccessFile:
        """The file of that plain name beside this one; Refused where there is none, or none may be opened."""
        raise Refused(Reason.UNSUPPORTED, "this kind of file has no files beside it", name)

    def close(self) -> None:
        """Give back what the file holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def check_bounds(self, offset: int, length: int) -> None:
        """Refused (malformed) unless [offset, offset + length) lies inside the file."""
        if offset < 0 or length < 0 or offset + length > self.size:
            raise Refused(
                Reason.MALFORMED, f"bytes {offset}..{offset + length} lie outside the file of {self.size} bytes"
            )


def check_plain_name(name: str) -> None:
    """Refused (unsafe) unless `name` is one path component that names a file beside another, on every system."""
    if name in {"", ".", ".."} or any(c in '/\\:\0' or ord(c) < ord(" ") for c in name) or len(name.encode("utf-8", "replace")) > 255:  # noqa: E501
        raise Refused(Reason.UNSAFE, "a side file must be named by a plain file name", ascii(name)[:80])


class LocalFile(RandomAccessFile):
    """A regular file on this machine. Side files are opened in the same folder, and links are not followed there."""

    def __init__(self, path: Path, *, follow_links: bool = True) -> None:
        self.path = path
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
        try:
            self.descriptor = os.open(path, flags)
        except OSError as error:
            raise Refused(Reason.FETCH_FAILED, f"cannot open the file: {error.strerror}", path.name) from error
        state = os.fstat(self.descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(self.descriptor)
            raise Refused(Reason.UNSAFE, "not a regular file", path.name)
        self.size = state.st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        parts = []
        while length:
            part = os.pread(self.descriptor, length, offset)
            if not part:
                raise Refused(Reason.CHANGED, "the file became shorter while it was read", f"byte {offset}")
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def beside(self, name: str) -> LocalFile:
        """See `RandomAccessFile.beside`."""
        check_plain_name(name)
        try:
            return LocalFile(self.path.parent / name, follow_links=False)
        except Refused as refusal:
            raise Refused(Reason.UNSAFE if refusal.reason is Reason.UNSAFE else Reason.MALFORMED, f"side file: {refusal.detail}", ascii(name)[:80]) from refusal  # noqa: E501

    def close(self) -> None:
        """See `RandomAccessFile.close`."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
