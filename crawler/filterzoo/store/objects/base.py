"""Storage of fragments: the interface of a store of named files, and the URLs of stores."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from filterzoo.errors import StartError


class Objects(Protocol):
    """Files below one root. Paths are relative to it, with `/` between folders.

    OSError if a file is not available.
    """

    def check(self) -> None:
        """StartError if the storage is obviously unusable."""

    def keep(self, written: Path, path: str) -> None:
        """Store a finished local file as `path`, atomically; `written` is removed.

        The path identifies the content: an existing file of the same size may be kept instead.
        """

    def replace(self, written: Path, path: str) -> None:
        """As `keep`, for a path that does not identify the content: an existing file is replaced."""

    def open(self, path: str) -> Any:
        """The file for pyarrow; memory-mapped if it is local."""

    def stream(self, path: str) -> io.BufferedReader:
        """The file, opened for reading and seeking."""
        ...

    def read(self, path: str) -> bytes:
        """All bytes of a small file."""
        ...

    def link_or_copy(self, path: str, place: Path, *, as_link: bool) -> None:
        """Put the file at `place`, a new local path: a hard link if possible, or a copy.

        as_link: a symbolic link suffices, because the file is read and removed at once.
        """

    def exists(self, path: str) -> bool:
        """Whether the file exists."""
        ...

    def paths(self) -> list[str]:
        """Every file, sorted."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""

    def set_aside(self, path: str) -> None:
        """Move a file to the same path below `<root>.aside`."""

    def age_of(self, path: str) -> float:
        """The time at which it was written, in Unix time; 0 if unknown."""
        ...


def local_folder(url: str) -> Path | None:
    """The local folder of a URL or path; None if it is remote."""
    parts = urlsplit(url)
    if parts.scheme in {"file", "local"}:
        import fsspec  # noqa: PLC0415  # a path needs none

        return Path(fsspec.core.strip_protocol(url))
    return None if "://" in url else Path(url)


def check_url(url: str) -> None:
    """StartError for a URL with a password, which would appear in logs, and for one that fsspec does not know."""
    parts = urlsplit(url)
    if "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]:
        raise StartError(
            "--store: the URL holds a password; give credentials by the environment, as the store's library reads them"
        )
    if "://" not in url:
        return
    import fsspec  # noqa: PLC0415  # as above

    try:
        fsspec.get_filesystem_class(parts.scheme)
    except ImportError as error:
        extra = "pip install 'filterzoo[s3]'" if parts.scheme in {"s3", "s3a"} else str(error)
        raise StartError(f"--store {url}: needs a package that is not installed: {extra}") from error
    except ValueError as error:
        raise StartError(f"--store {url}: {error}; give a folder or a URL such as s3://bucket/prefix") from error
