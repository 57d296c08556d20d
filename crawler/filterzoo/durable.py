"""Writes that survive a power cut."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def whole_file(place: Path) -> Iterator[Path]:
    """A temporary file, renamed to `place` once it is whole and synced, and removed after an error."""
    draft = place.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield draft
        settle(draft, place)
    finally:
        draft.unlink(missing_ok=True)


def settle(draft: Path, place: Path) -> None:
    """Rename a written file to `place` in the same folder; the bytes are synced before the name."""
    with draft.open("rb") as written:
        sync(written)
    draft.rename(place)
    sync_folder(place.parent)
