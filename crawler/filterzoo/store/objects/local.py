"""Storage of fragments in a local folder: files are written atomically."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pyarrow as pa

from filterzoo.durable import sync, sync_folder
from filterzoo.errors import StartError
from filterzoo.store.objects.base import Objects


class LocalObjects(Objects):
    """Files below a folder: synced, then renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()  # folders whose directory entries are synced

    def check(self) -> None:
        """See `Objects.check`."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"--store {self._root}: cannot be used: {error.strerror}; name another") from error

    def keep(self, written: Path, path: str) -> None:
        """See `Objects.keep`; `written` is synced already."""
        place = self._root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        _move(written, place)
        sync_folder(place.parent)
        if place.parent not in self._durable:
            # The folders may be new, even if another worker just created them; an entry that was synced once stays.
            for folder in (place.parent.parent, self._root.parent):
                sync_folder(folder)
            self._durable.add(place.parent)

    def replace(self, written: Path, path: str) -> None:
        """See `Objects.replace`."""
        with written.open("rb") as file:
            sync(file)
        self.keep(written, path)

    def open(self, path: str) -> Any:
        """See `Objects.open`."""
        return pa.memory_map(str(self._regular(path)))

    def stream(self, path: str) -> io.BufferedReader:
        """See `Objects.stream`."""
        return self._regular(path).open("rb")

    def read(self, path: str) -> bytes:
        """See `Objects.read`."""
        return self._regular(path).read_bytes()

    def link_or_copy(self, path: str, place: Path, *, as_link: bool) -> None:
        """See `Objects.link_or_copy`."""
        self._regular(path)
        if as_link:
            place.symlink_to((self._root / path).absolute())
            return
        try:
            os.link(self._root / path, place)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(self._root / path, place)

    def exists(self, path: str) -> bool:
        """See `Objects.exists`."""
        return (self._root / path).exists()

    def paths(self) -> list[str]:
        """See `Objects.paths`."""
        return sorted(path.relative_to(self._root).as_posix() for path in self._root.rglob("*") if not path.is_dir())

    def remove(self, path: str) -> None:
        """See `Objects.remove`."""
        (self._root / path).unlink()

    def set_aside(self, path: str) -> None:
        """See `Objects.set_aside`."""
        place = self._root.with_name(f"{self._root.name}.aside") / path
        place.parent.mkdir(parents=True, exist_ok=True)
        (self._root / path).replace(place)

    def age_of(self, path: str) -> float:
        """See `Objects.age_of`."""
        try:
            return (self._root / path).stat().st_mtime
        except OSError:
            return 0.0

    def _regular(self, path: str) -> Path:
        """The path of a file; OSError for a link, a FIFO or a device in its place."""
        place = self._root / path
        if not stat.S_ISREG(place.lstat().st_mode):
            raise OSError(f"{place} is a link, or no file")
        return place


def _move(written: Path, path: Path) -> None:
    """Rename, also to another file system: there a copy is renamed when it is whole and synced."""
    try:
        written.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = path.with_name(f"{written.parent.name}.part")
        with written.open("rb") as source, copy.open("wb") as sink:
            shutil.copyfileobj(source, sink)
            sync(sink)
        copy.replace(path)
