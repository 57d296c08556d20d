"""A file on a web server, read by byte ranges and pinned to the version that was there first."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote, urljoin

import httpx

from filterzoo.addresses import shown
from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile, check_plain_name
from filterzoo.transport import Transient, Transport

READ_AHEAD = 65_536
"""Bytes fetched at least: formats read their headers in many small steps."""
KEPT = 8
"""How many of the last small stretches are kept: a head, a tail and what a reader jumps between."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one version of a file from the next; `etag` only where it is a strong one (RFC 9110, 8.8.3)."""

    size: int
    etag: str | None
    modified: str | None


def strong_etag(response: httpx.Response) -> str | None:
    """The ETag, if it promises equal bytes."""
    etag = str(response.headers.get("etag", ""))
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else None


def ranged_version(response: httpx.Response, offset: int) -> Version | None:
    """The version a 206 answer is of; None unless it starts at `offset`, states the size, and is not encoded."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip().lower())
    encoded = response.headers.get("content-encoding", "identity").lower() != "identity"
    if match is None or encoded:
        return None
    first, last, size = map(int, match.groups())
    if first != offset or not first <= last < size:
        return None
    return Version(size, strong_etag(response), response.headers.get("last-modified"))


def range_end(response: httpx.Response) -> int:
    """One past the last byte a 206 answer with a good Content-Range brings."""
    match = _CONTENT_RANGE.fullmatch(response.headers["content-range"].strip().lower())
    return int(match[2]) + 1 if match else 0


class HttpFile(RandomAccessFile):
    """A remote file. Reads below READ_AHEAD bytes fetch that much and are kept; larger ones fetch what they need.

    `head` is what is known of its first bytes; `location` is where redirects led when they were read.
    """

    is_remote = True

    def __init__(
        self,
        transport: Transport,
        url: str,
        version: Version,
        head: bytes,
        *,
        location: str,
        open_url: Callable[[str], RandomAccessFile],
    ) -> None:
        self.transport = transport
        self.url = url
        self.version = version
        self.size = version.size
        self._location = location
        self._open_url = open_url
        self._kept: list[tuple[int, bytes]] = [(0, head)]

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`; Refused (changed) when the server has another version by now."""
        self.check_bounds(offset, length)
        for start, data in self._kept:
            if start <= offset and offset + length <= start + len(data):
                return data[offset - start : offset - start + length]
        if length >= READ_AHEAD:
            return self._fetch(offset, length)
        data = self._fetch(offset, min(READ_AHEAD, self.size - offset))
        self._kept = [(offset, data), *self._kept][:KEPT]
        return data[:length]

    def beside(self, name: str) -> RandomAccessFile:
        """The file of that name in the same folder of the server."""
        check_plain_name(name)
        return self._open_url(sibling(self.url, name))

    def _fetch(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, from where redirects led before; such addresses expire, then from the start."""
        if self._location != self.url:
            try:
                return self._fetch_from(self._location, offset, length)
            except Refused as refusal:
                if refusal.reason is Reason.CHANGED:
                    raise
                self._location = self.url
        return self._fetch_from(self.url, offset, length)

    def _fetch_from(self, url: str, offset: int, length: int) -> bytes:
        """Exactly these bytes; a retry goes on where the connection broke."""
        data = bytearray()

        def attempt() -> bytes:
            start, end = offset + len(data), offset + length
            headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
            if self.version.etag:
                headers["If-Range"] = self.version.etag
            with self.transport.get(url, headers, frozenset({200, 206, 416})) as response:
                self._check(response, start, end)
                for part in self.transport.body(response, raw=True):
                    data.extend(part[: length - len(data)])
                if len(data) < length:
                    raise Transient("the answer is shorter than it says")
            return bytes(data)

        return self.transport.retrying(url, attempt)

    def _check(self, response: httpx.Response, start: int, end: int) -> None:
        """Refused (changed) for another version, Transient for an answer that is not the range asked for."""
        etag, modified = strong_etag(response), response.headers.get("last-modified")
        if response.status_code != 206:
            same = etag == self.version.etag if self.version.etag else modified == self.version.modified
            if same and response.status_code == 200:
                raise Transient("the server ignored a Range request it understood before")
            raise Refused(Reason.CHANGED, "the file changed on the server while it was read", shown(self.url))
        version = ranged_version(response, start)
        if version is None or range_end(response) != end:
            raise Transient("the server answered with another range than it was asked for")
        if version.size != self.size or (etag, modified) != (self.version.etag, self.version.modified):
            raise Refused(Reason.CHANGED, "the file changed on the server while it was read", shown(self.url))


def sibling(url: str, name: str) -> str:
    """The URL of the file of that plain name in the same folder."""
    return urljoin(url, "./" + quote(name, safe="", errors="surrogatepass"))
