"""File access below an untrusted folder: links are not followed, only regular files are opened.

Every component is opened relative to its parent with O_NOFOLLOW, so that a link cannot lead outside, even if it appears
between a check and its use. `root` is a path or an open directory; the path itself may be a link, because it comes from
the user.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from filterzoo.durable import sync, sync_folder
from filterzoo.errors import StartError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
_NOT_THERE = frozenset({errno.ELOOP, errno.ENOTDIR})
"""Error numbers for a link in place of a folder, by system; for a link in place of a file it is ELOOP."""
_PIECE = 1 << 20


class FolderEntry(NamedTuple):
    """An entry below a folder, other than a folder."""

    path: str
    is_regular: bool


def open_regular_file(root: str | int, path: str) -> int:
    """A descriptor of a regular file, for reading.

    FileNotFoundError if it does not exist; StartError for a link in its path and for anything but a regular file.
    """
    with parent(root, path) as (folder, name):
        try:
            descriptor = os.open(name, _FILE, dir_fd=folder)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise _unsafe(root, path) from error
            raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _unsafe(root, path)
    return descriptor


def write_file(root: int, path: str, content: bytes) -> None:
    """Write and sync a new file; missing folders are made."""
    with (
        parent(root, path, make=True) as (folder, name),
        os.fdopen(os.open(name, _NEW_FILE, 0o666, dir_fd=folder), "wb") as new,
    ):
        new.write(content)
        sync(new)


def move(root: int, path: str, place: str) -> None:
    """Rename a file; it is durable after `sync_folders`. Missing folders of the new path are made, durably."""
    with parent(root, path) as (folder, name), parent(root, place, make=True) as (target, new_name):
        os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=target)


def sync_folders(root: int, paths: Iterable[str]) -> None:
    """Sync every folder that leads to these files, each once."""
    parts = [path.split("/")[:-1] for path in paths]
    for folder in sorted({"/".join([*names[:depth], "."]) for names in parts for depth in range(len(names) + 1)}):
        with parent(root, folder) as (descriptor, _):
            sync_folder(descriptor)


def remove(root: int, path: str) -> None:
    """Remove a file, durably, if it exists."""
    with contextlib.suppress(FileNotFoundError), parent(root, path) as (folder, name):
        os.unlink(name, dir_fd=folder)
        sync_folder(folder)


def check_place(root: int, path: str) -> None:
    """StartError if a link or a folder is at that path, so that no file could be renamed to it or removed."""
    with contextlib.suppress(FileNotFoundError), parent(root, path) as (folder, name):
        if not stat.S_ISREG(os.lstat(name, dir_fd=folder).st_mode):
            raise _unsafe(root, path)


def entries(root: str, folder: str, depth: int) -> Iterator[FolderEntry]:
    """All entries below a folder, in order; folders deeper than `depth` levels are entries themselves.

    Nothing if the folder is missing; StartError for a file or a link.
    """
    try:
        with parent(root, f"{folder}/.") as (descriptor, _):
            yield from _entries(descriptor, folder, depth)
    except FileNotFoundError:
        return


def _entries(descriptor: int, folder: str, depth: int) -> Iterator[FolderEntry]:
    with os.scandir(descriptor) as found:
        names = sorted((entry.name, entry.is_dir(follow_symlinks=False), _is_regular(entry)) for entry in found)
    for name, is_folder, is_regular in names:
        path = f"{folder}/{name}"
        if not is_folder or not depth:
            yield FolderEntry(path, is_regular)
            continue
        inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
        try:
            yield from _entries(inner, path, depth - 1)
        finally:
            os.close(inner)


def _is_regular(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


@contextlib.contextmanager
def parent(root: str | int, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """(the open parent folder of the path, the path's last component). make: create missing folders, durably.

    FileNotFoundError if a folder is missing; StartError if one is a link or a file.
    """
    *folders, name = path.split("/")
    descriptor = os.dup(root) if isinstance(root, int) else os.open(root, _FOLDER)
    try:
        for folder in folders:
            if folder in {"", ".", ".."}:
                raise _unsafe(root, path)
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, dir_fd=descriptor)
                    sync_folder(descriptor)
            try:
                inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            except OSError as error:
                if error.errno in _NOT_THERE:
                    raise _unsafe(root, path) from error
                raise
            os.close(descriptor)
            descriptor = inner
        yield descriptor, name
    finally:
        os.close(descriptor)


def _unsafe(root: str | int, path: str) -> StartError:
    place = "" if isinstance(root, int) else f"{root}: "
    return StartError(
        f"{place}{ascii(path)[:200]} is a link, a folder or no regular file; a data set has only regular files"
    )
