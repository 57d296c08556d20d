"""Downloads a whole file into the cache, with retries, and checks it before it becomes visible."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from filterzoo.errors import Reason, Refused
from filterzoo.network.addresses import shown
from filterzoo.network.files.cache import Cache, CacheEntry, Partial, append
from filterzoo.network.files.http_file import ranged_version, strong_etag
from filterzoo.network.hosts import rules_of
from filterzoo.network.transport import Transient, Transport, stated_length


@dataclass(frozen=True, slots=True)
class Download:
    """A file to download, and what is known about it. Hold the cache's lock on `key` during attempts."""

    cache: Cache
    transport: Transport
    url: str
    sha256: str | None
    size: int | None
    max_bytes: int

    @property
    def key(self) -> str:
        """The cache key: the hash if it is known, so that mirrors share the content."""
        return f"sha256:{self.sha256}" if self.sha256 else self.url

    def attempt(self) -> Path:
        """One attempt; Transient if a retry may succeed. A retry continues after the bytes received so far."""
        known = self.cache.find(self.sha256) if self.sha256 else self.cache.recent(self.key, rules_of(self.url).keeps)
        if known is not None:
            return known
        entry = self.cache.entry(self.key)
        partial = self.cache.partial(self.key)
        with self.transport.get(self.url, self._headers(entry, partial), frozenset({200, 206, 304, 416})) as response:
            return self._unchanged(entry) if response.status_code == 304 else self._received(response, partial)

    def taken_from(self, response: httpx.Response) -> Path | None:
        """The file from a response of status 200 to another request, which brings all of it.

        None if an earlier download is to be resumed or revalidated instead.
        """
        partial = self.cache.partial(self.key)
        if partial.length or self.cache.entry(self.key) is not None:
            return None
        return self._received(response, partial)

    def _received(self, response: httpx.Response, partial: Partial) -> Path:
        refuse_html(response, self.url)
        partial, total = self._resume_at(partial, response)
        check_size(self.size, total, self.url)
        if (total or 0) > self.max_bytes:
            raise Refused(Reason.TOO_LARGE, f"the file has {total} bytes", shown(self.url))
        resumed = partial.length
        sha256 = append(partial, self._bounded(response, resumed), _digest_of(partial))
        if total is not None and partial.length != total:
            raise Transient(f"only {partial.length} of {total} bytes came")
        self._check(partial, sha256, resumed=bool(resumed))
        return self.cache.keep(self.key, partial, sha256)

    def _headers(self, entry: CacheEntry | None, partial: Partial) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity"}
        if entry and entry.etag:
            headers["If-None-Match"] = entry.etag
        elif partial.length and (partial.etag or self.sha256):
            headers["Range"] = f"bytes={partial.length}-"
            if partial.etag:
                headers["If-Range"] = partial.etag
        return headers

    def _unchanged(self, entry: CacheEntry | None) -> Path:
        path = self.cache.find(entry.sha256) if entry else None
        if path is None:
            raise Transient("the server says that nothing changed, but the cache lost the file")
        return path

    def _resume_at(self, partial: Partial, response: httpx.Response) -> tuple[Partial, int | None]:
        """The offset of the response's bytes, and the file's size, if the server states it."""
        if response.status_code == 200:
            encoded = response.headers.get("content-encoding", "identity").lower() != "identity"
            total = None if encoded else stated_length(response)
            return self.cache.start(partial, strong_etag(response)), total
        version = ranged_version(response, partial.length) if response.status_code == 206 else None
        if version is None or (partial.etag and version.etag != partial.etag):
            self.cache.discard(partial)
            raise Transient("the download cannot be resumed")
        return partial, version.size

    def _bounded(self, response: httpx.Response, length: int) -> Iterator[bytes]:
        for part in self.transport.body(response):
            if not length:
                refuse_html(response, self.url, part)
            length += len(part)
            if length > self.max_bytes:
                raise Refused(Reason.TOO_LARGE, f"the file has more than {self.max_bytes} bytes", shown(self.url))
            yield part

    def _check(self, partial: Partial, sha256: str, *, resumed: bool) -> None:
        if self.sha256 and sha256 != self.sha256:
            self.cache.discard(partial)
            if resumed:
                # The two parts may be from different versions: only an uninterrupted download proves that the file
                # differs.
                raise Transient("the resumed download does not have the published hash")
            check_hash(self.sha256, sha256, self.url)
        check_size(self.size, partial.length, self.url)


def check_hash(published: str | None, found: str, url: str) -> None:
    """Refused (hash_mismatch) unless `found` is the published sha256, if there is one."""
    if published and published.lower() != found:
        raise Refused(Reason.HASH_MISMATCH, f"sha256 is {found}, published is {published}", shown(url))


def check_size(published: int | None, found: int | None, url: str) -> None:
    """Refused (hash_mismatch) when both sizes are known and differ."""
    if published is not None and found is not None and published != found:
        raise Refused(Reason.HASH_MISMATCH, f"has {found} bytes, published are {published}", shown(url))


def refuse_html(response: httpx.Response, url: str, head: bytes = b"") -> None:
    """Refused (fetch_failed) when a server sends a page about the file instead of the file."""
    kind = response.headers.get("content-type", "").lower()
    if "text/html" in kind or head[:256].lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        raise Refused(Reason.FETCH_FAILED, "the server sent an HTML page instead of the file", shown(url))


def _digest_of(partial: Partial) -> hashlib._Hash:
    with partial.path.open("rb") as file:
        return hashlib.file_digest(file, "sha256")
