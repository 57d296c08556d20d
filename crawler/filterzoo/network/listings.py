"""Pages of an unfinished listing, stored on disk: the next run continues from the last page's cursor."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LONGEST_KEPT = 86_400.0
"""Seconds for which pages are kept; older ones are fetched again, because zoos change."""
MOST_BYTES = 4_000_000_000
"""Most compressed bytes of one listing; 2 million repositories of the Hub take a few hundred million."""
_ERRORS = (sqlite3.Error, OSError, zlib.error, ValueError)


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A stored page. body: the decoded response. following: the URL of the next page."""

    body: bytes
    following: str | None


@dataclass(slots=True)
class UnfinishedListings:
    """The listings of one run, each a file in `folder`. now: seconds since 1970.

    A run that finishes removes its pages, because the next run must see new entries. A run that is stopped or killed,
    and a listing that failed, leave their pages.
    """

    folder: Path
    now: Callable[[], float]
    _open: list[UnfinishedListing] = field(default_factory=list)
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.now()

    def begin(self, key: str) -> UnfinishedListing:
        """A listing, identified by its first URL and everything else that its pages depend on."""
        self._remove_old()
        path = self.folder / hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        self._open.append(UnfinishedListing(path, self._began, self.now))
        return self._open[-1]

    def close(self, *, is_stopped: bool) -> None:
        """End the run: remove finished listings; is_stopped: keep them."""
        for listing in self._open:
            if not (is_stopped or listing.has_failed):
                listing.forget()
            listing.close()
        self._open.clear()

    def _remove_old(self) -> None:
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if not 0 <= self.now() - path.stat().st_mtime < LONGEST_KEPT:
                    path.unlink(missing_ok=True)


class UnfinishedListing:
    """Pages by URL. After a disk failure, or with a damaged file, pages are fetched again."""

    def __init__(self, path: Path, began: float, now: Callable[[], float]) -> None:
        self._path = path
        self._began: float | None = began
        self._now = now
        self._database: sqlite3.Connection | None = None
        self._bytes = 0
        self._is_used = False
        self.has_failed = False
        """Set if a page could not be fetched: the next run continues there."""

    def find(self, url: str) -> KeptPage | None:
        """The page, if an earlier run stored it."""
        with contextlib.suppress(*_ERRORS):
            if self._began is None or (self._database is None and not self._path.exists()):
                return None
            times = (self._began - LONGEST_KEPT, self._began)
            query = "SELECT page FROM pages WHERE url = ? AND kept > ? AND kept < ?"
            for (data,) in self._opened().execute(query, (url, *times)).fetchall():
                head, _, body = zlib.decompress(data).partition(b"\n")
                self._is_used = True
                return KeptPage(body, json.loads(head))
        return None

    def begin_again(self) -> bool:
        """Use no pages of earlier runs from now on; whether any was used before."""
        was_used, self._is_used, self._began = self._is_used, False, None
        return was_used

    def keep(self, url: str, page: KeptPage) -> None:
        """Store a page that the server sent."""
        with contextlib.suppress(*_ERRORS):
            data = zlib.compress(json.dumps(page.following).encode() + b"\n" + page.body, 1)
            self._bytes += len(data)
            if self._bytes <= MOST_BYTES:
                self._opened().execute("INSERT OR REPLACE INTO pages VALUES (?, ?, ?)", (url, self._now(), data))

    def forget(self) -> None:
        """Remove all pages."""
        self.close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()
            self._database = None

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, isolation_level=None, timeout=5, check_same_thread=False)
            # The file may be lost, and compressed pages have a checksum.
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, kept REAL, page BLOB)")
        return self._database
