"""Makes what was written last through a power cut."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


def sync(file: IO[Any]) -> None:
    """What was written to an open file is on the disk."""
    if file.writable():
        file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path | int) -> None:
    """Names that were given in a folder are on the disk. folder: a path, or a descriptor of the open folder."""
    if isinstance(folder, int):
        os.fsync(folder)
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing; their names are on the disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in reversed(missing):
        sync_folder(one.parent)


@contextmanager
def whole_file(place: Path) -> Iterator[Path]:
    """A new file beside `place`, to write. It becomes `place`, whole and on the disk; after an error it is removed."""
    draft = place.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield draft
        settle(draft, place)
    finally:
        draft.unlink(missing_ok=True)


def settle(draft: Path, place: Path) -> None:
    """Rename a written file of the same folder to `place`: first its bytes, then its name are on the disk."""
    with draft.open("rb") as written:
        sync(written)
    draft.rename(place)
    sync_folder(place.parent)
