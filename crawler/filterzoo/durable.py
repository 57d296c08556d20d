"""Writes that survive a power cut."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def sync(file: IO[Any]) -> None:
    """Flush an open file to the disk."""
    if file.writable():
        file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path | int) -> None:
    """Flush the entries of a folder to the disk. folder: a path, or a descriptor of the open folder."""
    if isinstance(folder, int):
        os.fsync(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, durably."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_folder(one.parent)


@contextlib.contextmanager
def whole_file(place: Path) -> Iterator[Path]:
    """A new file to write in the folder of `place`. It is synced and renamed to `place`; after an error it is removed.

    Its name is always the same, so that the next run replaces what a killed run left. BlockingIOError if another
    process is writing it.
    """
    draft = place.with_name(f".{place.name}.part")
    lock = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _take(lock, draft)
        os.ftruncate(lock, 0)
        try:
            yield draft
            settle(draft, place)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    finally:
        os.close(lock)


@contextlib.contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """An empty folder to write files in; they are moved into `folder` at the end, and removed after an error.

    Its name is always the same, so that the next run replaces what a killed run left. BlockingIOError if another
    process is writing into `folder`. `folder` is created if it is missing, and removed again after an error. Other
    files in it stay; the moves are not atomic together.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    draft = folder / ".filterzoo.part"
    draft.mkdir(parents=True, exist_ok=True)
    lock = os.open(draft, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _take(lock, draft)
    except BaseException:
        os.close(lock)
        raise
    try:
        _empty(draft)
        yield draft
        for file in sorted(path for path in draft.rglob("*") if not path.is_dir()):
            place = folder / file.relative_to(draft)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        os.close(lock)
        with contextlib.suppress(OSError):  # a folder with files stays
            for one in missing:
                one.rmdir()


def _take(lock: int, draft: Path) -> None:
    """Lock a draft; BlockingIOError if another process holds it, or has just renamed it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another process is writing it", str(draft)) from error
    if not draft.exists() or not os.path.samestat(os.fstat(lock), draft.lstat()):
        raise BlockingIOError(errno.EWOULDBLOCK, "another process has just written it", str(draft))


def _empty(folder: Path) -> None:
    """Remove everything in the folder; links are not followed."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def settle(draft: Path, place: Path) -> None:
    """Rename a written file to `place` in the same folder; the bytes are synced first, then the name."""
    with draft.open("rb") as written:
        sync(written)
    draft.rename(place)
    sync_folder(place.parent)
