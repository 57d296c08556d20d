"""Storage of fragments: named files on this machine or at an fsspec URL, written atomically."""

from __future__ import annotations

import errno
import io
import os
import shutil
import stat
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import fsspec
import pyarrow as pa

from filterzoo.durable import sync, sync_folder
from filterzoo.errors import StartError


class Objects(Protocol):
    """Files below one root. Paths are relative to it, with `/` between folders.

    OSError where a file is not available.
    """

    def check(self) -> None:
        """StartError where the storage is obviously unusable."""

    def keep(self, written: Path, path: str) -> None:
        """Store a finished local file as `path`, atomically; `written` is removed.

        The path names the content: an existing file of the same size may be kept instead.
        """

    def replace(self, written: Path, path: str) -> None:
        """As `keep` for a path that names no content: an existing file is replaced."""

    def open(self, path: str) -> Any:
        """The file for pyarrow; memory-mapped where it is local."""

    def stream(self, path: str) -> io.BufferedReader:
        """The file, opened for reading and seeking."""
        ...

    def read(self, path: str) -> bytes:
        """All bytes of a small file."""
        ...

    def bring(self, path: str, place: Path, *, as_link: bool) -> None:
        """Put the file at `place`, a new local path: a hard link if possible, or a copy.

        as_link: a symbolic link is enough, since the file is read and removed at once.
        """

    def exists(self, path: str) -> bool:
        """Whether there is such a file."""
        ...

    def paths(self) -> list[str]:
        """Every file, sorted."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""

    def set_aside(self, path: str) -> None:
        """Move a file to the same path below `<root>.aside`."""

    def age_of(self, path: str) -> float:
        """When it was written, in Unix time; 0 if unknown."""
        ...


def open_objects(url: str) -> Objects:
    """The files below a local folder, a `file:` URL, or any other URL that fsspec knows; StartError for other ones."""
    if (local := local_folder(url)) is not None:
        return LocalObjects(local)
    from filterzoo.store.remote_objects import RemoteObjects  # noqa: PLC0415  # few need it

    return RemoteObjects(url)


def local_folder(url: str) -> Path | None:
    """The folder that a URL or path names on this machine; None where it is elsewhere."""
    parts = urlsplit(url)
    if parts.scheme in {"file", "local"}:
        return Path(fsspec.core.strip_protocol(url))
    return None if "://" in url else Path(url)


def check_url(url: str) -> None:
    """StartError for a URL with a password in it, which would end up in logs, and for one that fsspec does not know."""
    parts = urlsplit(url)
    if "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]:
        raise StartError(
            "--store: the URL holds a password; give credentials by the environment, as the store's library reads them"
        )
    if "://" not in url:
        return
    try:
        fsspec.get_filesystem_class(parts.scheme)
    except ImportError as error:
        extra = "pip install 'filterzoo[s3]'" if parts.scheme in {"s3", "s3a"} else str(error)
        raise StartError(f"--store {url}: needs a package that is not installed: {extra}") from error
    except ValueError as error:
        raise StartError(f"--store {url}: {error}; give a folder or a URL such as s3://bucket/prefix") from error


class LocalObjects(Objects):
    """Files below a folder: synced, then renamed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._durable: set[Path] = set()  # folders whose own names are on the disk

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
            # The folders may be new, also those just made by another worker; a name that was synced once stays.
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

    def bring(self, path: str, place: Path, *, as_link: bool) -> None:
        """See `Objects.bring`."""
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
