"""Downloaded files on disk, named by their content, bounded in size, shared between processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import platformdirs

from filterzoo.durable import sync, sync_folder
from filterzoo.errors import Reason, Refused, on_disk, raise_failed_disk
from filterzoo.network.locks import file_lock

IN_USE = 600.0
"""Seconds; a file used this recently may be about to be opened and is never removed."""
DEFAULT_BYTES = 50_000_000_000
UNCHECKED_SHARE = 256
"""A process looks at all files of the cache again after it has added this fraction (1/256) of the largest size."""


def default_folder() -> Path:
    """FILTERZOO_CACHE, or the system's cache folder of the user for filterzoo."""
    return Path(os.environ.get("FILTERZOO_CACHE") or platformdirs.user_cache_dir("filterzoo", appauthor=False))


PLACE = "the cache of downloads"
"""The name of its disk in errors."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The last known content of a key, and the server's validator for it."""

    sha256: str
    etag: str | None = None
    kept: float = 0.0
    """Time of the download's end, in seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Partial:
    """An incomplete download: the first bytes at `path`, and the validator of the file."""

    path: Path
    etag: str | None

    @property
    def length(self) -> int:
        """Number of bytes received so far."""
        return self.path.stat().st_size if self.path.exists() else 0


class Cache:
    """A folder of files by sha256, an index from keys (URLs, archive members) to them, and unfinished downloads.

    Every name in it is a hash, so no untrusted name becomes a path. Files appear by an atomic rename after fsync.
    """

    def __init__(self, folder: Path, max_bytes: int = DEFAULT_BYTES, now: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.now = now
        self._unchecked: int | None = None
        """Bytes that this process has added since it looked at all files; None before the first time."""

    def find(self, sha256: str) -> Path | None:
        """The file of that content, if it is cached; marks it as used."""
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            return None
        path = self.folder / "files" / sha256[:2] / sha256
        try:
            os.utime(path, (self.now(), self.now()))
        except OSError:
            return None
        return path

    def forget(self, sha256: str) -> None:
        """Remove the file of that content, whose bytes do not match its name."""
        path = self.find(sha256)
        if path is not None:
            path.unlink(missing_ok=True)

    def entry(self, key: str) -> CacheEntry | None:
        """The last known content of a key, if it is still cached."""
        try:
            entry = CacheEntry(**json.loads(self._path("keys", key).read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        return entry if self.find(entry.sha256) else None

    def recent(self, key: str, seconds: float) -> Path | None:
        """The content of a key that was downloaded that recently, if it is still cached."""
        entry = self.entry(key)
        if entry is None or not 0 <= self.now() - entry.kept < seconds:
            return None
        return self.find(entry.sha256)

    @contextlib.contextmanager
    def lock(self, key: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock for work on one key, between threads and processes; released when its process ends.

        Gives False, without the lock, if somebody else has it and `wait` is False.
        """
        path = self._path("locks", key)
        with on_disk(PLACE):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = file_lock(path)
            with contextlib.suppress(TimeoutError):
                lock.acquire(timeout=-1 if wait else 0)  # opens the file
        try:
            yield lock.is_locked
        finally:
            lock.release()

    @on_disk(PLACE)
    def partial(self, key: str) -> Partial:
        """The unfinished download of a key; hold its lock."""
        path = self._path("partial", key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            etag = path.with_suffix(".etag").read_text("utf-8")
        except (OSError, ValueError):
            etag = ""
        return Partial(path, etag or None)

    @on_disk(PLACE)
    def start(self, partial: Partial, etag: str | None) -> Partial:
        """Empty a partial download, and store the validator of what will be written to it."""
        self.discard(partial)
        partial.path.with_suffix(".etag").write_text(etag or "", "utf-8")
        partial.path.touch()
        return Partial(partial.path, etag)

    @on_disk(PLACE)
    def discard(self, partial: Partial) -> None:
        """Remove a partial download."""
        partial.path.unlink(missing_ok=True)
        partial.path.with_suffix(".etag").unlink(missing_ok=True)

    @on_disk(PLACE)
    def keep(self, key: str, partial: Partial, sha256: str) -> Path:
        """Turn a complete, synced partial download into the content of `sha256` and of the key."""
        path = self.folder / "files" / sha256[:2] / sha256
        path.parent.mkdir(parents=True, exist_ok=True)
        size = partial.length
        partial.path.replace(path)
        sync_folder(path.parent)
        self.discard(partial)
        self.remember(key, CacheEntry(sha256, partial.etag, self.now()))
        os.utime(path, (self.now(), self.now()))
        self._added(size)
        return path

    @on_disk(PLACE)
    def remember(self, key: str, entry: CacheEntry) -> None:
        """Store the entry of a key."""
        path = self._path("keys", key)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(entry)), "utf-8")
        temporary.replace(path)

    def store(self, key: str, parts: Iterable[bytes]) -> Path:
        """Write computed bytes (an archive's member) as the content of a key, once."""
        with self.lock(key):
            entry = self.entry(key)
            if entry and (path := self.find(entry.sha256)):
                return path
            partial = self.start(self.partial(key), None)
            try:
                sha256 = append(partial, parts, hashlib.sha256())
                return self.keep(key, partial, sha256)
            except BaseException:
                self.discard(partial)
                raise

    @on_disk(PLACE)
    def scratch(self) -> IO[bytes]:
        """An unnamed file in the cache's folder: removed when it is closed or its process ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=self.folder)

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / kind / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()

    def _added(self, size: int) -> None:
        """Evict, but not after each file: looking at all files takes longer than downloading a small one.

        So the cache may exceed its largest size by 1/UNCHECKED_SHARE of it for each process.
        """
        if self._unchecked is not None and self._unchecked + size < self.max_bytes // UNCHECKED_SHARE:
            self._unchecked += size
            return
        self._unchecked = 0
        self._evict()

    def _evict(self) -> None:
        """Remove the least recently used files until the rest fits; files in use stay."""
        entries = []
        for path in (self.folder / "files").glob("*/*"):
            try:
                state = path.stat()
            except FileNotFoundError:
                continue
            entries.append((state.st_mtime, state.st_size, path))
        excess = sum(size for _, size, _ in entries) - self.max_bytes
        for used, size, path in sorted(entries):
            if excess <= 0 or used > self.now() - IN_USE:
                return
            path.unlink(missing_ok=True)
            excess -= size


@on_disk(PLACE)
def append(partial: Partial, parts: Iterable[bytes], digest: hashlib._Hash) -> str:
    """Append bytes to a partial download and sync them; returns the hex digest of the whole download.

    StorageFailed if the disk is full or fails, Refused if the cache cannot be written to for other reasons.
    """
    with partial.path.open("ab") as file:
        for part in parts:
            digest.update(part)
            try:
                file.write(part)
            except OSError as error:
                raise_failed_disk(error, PLACE)
                raise Refused(Reason.FETCH_FAILED, f"cannot write to the cache: {error.strerror}") from error
        sync(file)
    return digest.hexdigest()
