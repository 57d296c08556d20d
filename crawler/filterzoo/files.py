"""Random access to the bytes of one artifact, local or remote."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from filterzoo.errors import Reason, Refused, StartError

_PIECE = 1 << 20


def open_regular(path: Path) -> io.BufferedReader:
    """Open a regular file for reading; StartError for a FIFO or a device.

    Opening those may block, and reading them may never end. Links are followed. IsADirectoryError for a folder.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise StartError(f"{path}: is not a regular file; name another")
    return os.fdopen(descriptor, "rb")


def text_of(path: Path, what: str, most: int) -> str:
    """The UTF-8 text of a small file, without a byte order mark.

    Args:
        path: of the file; links are followed.
        what: the kind of file, for the error message: "a manifest".
        most: the largest allowed size in bytes.

    Raises:
        StartError: it cannot be read, is a folder, a FIFO or a device, is larger, or is not UTF-8.
    """
    try:
        with open_regular(path) as file:
            data = file.read(most + 1)
    except IsADirectoryError:
        raise StartError(f"{path}: a folder, not {what}; name the file in it") from None
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}; name {what}") from error
    if len(data) > most:
        raise StartError(f"{path}: not {what}: larger than {most:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise StartError(f"{path}: not {what}: byte {error.start} is not UTF-8 text") from error


class RandomAccessFile(ABC):
    """A file of known size, read by byte ranges. Use as a context manager, or call `close`."""

    size: int
    """Length in bytes."""
    name: str = ""
    """Its name in its zoo or archive, for formats; never used as a path. "" if unknown."""
    is_remote: bool = False
    """Whether a read may cost a request. Formats then read few, long byte ranges, and skip bytes that a checksum
    covers.
    """
    stated_sha256: str | None = None
    """The sha256 of the whole file as the server states it; None if it does not."""
    verified_sha256: str | None = None
    """The sha256 of the whole file, if it was computed."""

    @abstractmethod
    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`; Refused (malformed) if the file is shorter."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` from `offset`: like `read`, without a copy if the file supports it."""
        buffer[:] = self.read(offset, len(buffer))

    def will_read(self, byte_ranges: Sequence[tuple[int, int]]) -> None:
        """Announce the (offset, length) of all reads before the first one, so that reads share requests."""

    def beside(self, name: str) -> RandomAccessFile:
        """Open the file of that name in this file's folder or below (`check_side_name`).

        Refused if it does not exist or must not be opened.
        """
        raise Refused(Reason.UNSUPPORTED, "this kind of file has no files beside it", name)

    def close(self) -> None:
        """Release the file's resources."""

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


class Window(RandomAccessFile):
    """`length` bytes of a file from `offset`, such as a stored archive member, as a file."""

    def __init__(self, file: RandomAccessFile, offset: int, length: int) -> None:
        file.check_bounds(offset, length)
        self.size = length
        self.is_remote = file.is_remote
        self._file = file
        self._offset = offset

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        return self._file.read(self._offset + offset, length)


def sha256_of(file: RandomAccessFile) -> str:
    """Hex, of all bytes."""
    hasher = hashlib.sha256()
    buffer = memoryview(bytearray(min(_PIECE, file.size)))
    for offset in range(0, file.size, _PIECE):
        part = buffer[: min(_PIECE, file.size - offset)]
        file.read_into(offset, part)
        hasher.update(part)
    return hasher.hexdigest()


def check_plain_name(name: str) -> None:
    """Refused (unsafe) unless `name` is a single path component on every operating system."""
    is_short = len(name.encode("utf-8", "replace")) <= 255
    is_odd = any(c in '/\\:*?"<>|' or c < " " or "\ud800" <= c <= "\udfff" for c in name)
    if not is_short or name in {"", ".", ".."} or is_odd:
        raise Refused(Reason.UNSAFE, "a side file must be named by a plain file name", ascii(name)[:80])


MAX_FOLDERS = 8
"""Most folders between a file and a side file that it names."""


def check_side_name(name: str) -> None:
    """Refused (unsafe) unless `name` is a plain name, or plain names joined by `/`: the same folder or below."""
    parts = name.split("/")
    if len(parts) > MAX_FOLDERS + 1:
        raise Refused(Reason.UNSAFE, "a side file in too many folders", ascii(name)[:80])
    for part in parts:
        check_plain_name(part)


class LocalFile(RandomAccessFile):
    """A regular file on this machine. Side files are opened in its folder or below, and links are not followed there.

    folder: a descriptor of the folder that contains `path`; only the last component of `path` is then looked up.
    """

    def __init__(self, path: Path, *, follow_links: bool = True, folder: int | None = None) -> None:
        self.path = path
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
        try:
            self.descriptor = os.open(path if folder is None else path.name, flags, dir_fd=folder)
        except OSError as error:
            # With O_NOFOLLOW, ELOOP means that the name is a link.
            raise _not_opened(error, "the file", path.name, links=frozenset({errno.ELOOP})) from error
        state = os.fstat(self.descriptor)
        if not stat.S_ISREG(state.st_mode):
            os.close(self.descriptor)
            raise Refused(Reason.UNSAFE, "not a regular file", path.name)
        self.size = state.st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`."""
        self.check_bounds(offset, length)
        data = os.pread(self.descriptor, length, offset)
        if len(data) == length:
            return data
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """See `RandomAccessFile.read_into`."""
        self.check_bounds(offset, len(buffer))
        while buffer:
            count = os.preadv(self.descriptor, [buffer], offset)
            if count == 0:
                raise Refused(Reason.CHANGED, "the file became shorter while it was read", f"byte {offset}")
            offset += count
            buffer = buffer[count:]

    def beside(self, name: str) -> LocalFile:
        """See `RandomAccessFile.beside`."""
        check_side_name(name)
        try:
            with _folder_of(self.path.parent, name) as folder:
                side = LocalFile(self.path.parent / name, follow_links=False, folder=folder)
        except Refused as refusal:
            reason = refusal.reason if refusal.reason in {Reason.UNSAFE, Reason.LIMIT} else Reason.MALFORMED
            raise Refused(reason, f"side file: {refusal.detail}", ascii(name)[:80]) from refusal
        if os.fstat(side.descriptor).st_nlink > 1:
            # A hard link cannot be distinguished from the file, which may belong to another user.
            side.close()
            raise Refused(Reason.UNSAFE, "side file: it has other names as well (hard links)", ascii(name)[:80])
        return side

    def close(self) -> None:
        """See `RandomAccessFile.close`."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _not_opened(error: OSError, what: str, where: str, *, links: frozenset[int]) -> Refused:
    """The refusal for a file or folder that cannot be opened; links: error numbers for a link in its place."""
    if error.errno in {errno.EMFILE, errno.ENFILE}:
        return Refused(Reason.LIMIT, f"more files than this process may open ({error.strerror}); see ulimit -n", where)
    reason = Reason.UNSAFE if error.errno in links else Reason.FETCH_FAILED
    return Refused(reason, f"cannot open {what}: {error.strerror}", where)


@contextlib.contextmanager
def _folder_of(start: Path, name: str) -> Iterator[int | None]:
    """A descriptor of the folder that a side file is in, None for `start` itself; no link on the way is followed."""
    *folders, _ = name.split("/")
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
    with contextlib.ExitStack() as stack:
        descriptor: int | None = None
        for number, part in enumerate(["", *folders] if folders else []):
            try:
                opened = os.open(part or start, flags | (os.O_NOFOLLOW if number else 0), dir_fd=descriptor)
            except OSError as error:
                # With O_NOFOLLOW, opening a link to a folder may also fail with ENOTDIR.
                links = frozenset({errno.ELOOP, errno.ENOTDIR})
                raise _not_opened(error, "a folder", ascii(part)[:80], links=links) from error
            stack.callback(os.close, opened)
            descriptor = opened
        yield descriptor
