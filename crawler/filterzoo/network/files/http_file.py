"""A file on a web server, read by byte ranges and pinned to the version of the first response.

No byte is requested twice: received bytes are kept until the file is closed (`network.held`). Ranges announced by
`will_read` are fetched in few requests (`network.ranges`), several in parallel, and reading starts with the first
bytes. Formats read their indexes in small steps, so a small read that was not announced fetches more than it needs,
within a limit.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO
from urllib.parse import quote, urljoin

import httpx

from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile, check_side_name
from filterzoo.network.addresses import shown
from filterzoo.network.files.held import HeldBytes, Slot
from filterzoo.network.files.ranges import READ_AHEAD, READ_AHEAD_BUDGET, ByteRange, requests_for
from filterzoo.network.transport import Transient, Transport

CONNECTIONS = 4
"""Parallel requests for one file: one connection rarely uses the full bandwidth."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Version:
    """Identifies a version of a file; `etag` only if it is strong (RFC 9110, 8.8.3)."""

    size: int
    etag: str | None
    modified: str | None


def strong_etag(response: httpx.Response) -> str | None:
    """The ETag, if it is a strong one, which guarantees equal bytes."""
    etag = str(response.headers.get("etag", ""))
    return etag if re.fullmatch(r'"[\x21\x23-\x7e]*"', etag) else None


def linked_sha256(response: httpx.Response) -> str | None:
    """The sha256 of the file that a redirect leads to, as the Hugging Face Hub states it for every LFS file."""
    match = re.fullmatch(r'"?([0-9a-f]{64})"?', response.headers.get("x-linked-etag", ""))
    return match[1] if match else None


def ranged_version(response: httpx.Response, offset: int) -> Version | None:
    """The version of a 206 response; None unless it starts at `offset`, states the size, and is not encoded."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip().lower())
    encoded = response.headers.get("content-encoding", "identity").lower() != "identity"
    if match is None or encoded:
        return None
    first, last, size = map(int, match.groups())
    if first != offset or not first <= last < size:
        return None
    return Version(size, strong_etag(response), response.headers.get("last-modified"))


def range_end(response: httpx.Response) -> int:
    """The end (exclusive) of the byte range of a 206 response with a valid Content-Range."""
    match = _CONTENT_RANGE.fullmatch(response.headers["content-range"].strip().lower())
    return int(match[2]) + 1 if match else 0


class HttpFile(RandomAccessFile):
    """A remote file, read by one thread.

    `head`: its first bytes and version; `location`: the address after redirects; `scratch`: creates the unnamed file
    for received bytes.
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
        stated_sha256: str | None = None,
        open_url: Callable[[str], RandomAccessFile],
        scratch: Callable[[], IO[bytes]],
    ) -> None:
        self.transport = transport
        self.url = url
        self.version = version
        self.size = version.size
        self.stated_sha256 = stated_sha256
        self._location = location
        self._open_url = open_url
        self._sides: dict[str, RandomAccessFile] = {}
        self._held = HeldBytes(scratch)
        self._ahead = _ReadAhead()
        self._pool: ThreadPoolExecutor | None = None
        self._is_closed = threading.Event()
        self._renewing = threading.Lock()
        if head:
            slot = self._held.reserve(ByteRange(0, len(head)))
            slot.write(head)
            self._held.add(slot)

    def read(self, offset: int, length: int) -> bytes:
        """See `RandomAccessFile.read`; Refused (changed) if the server now has another version."""
        self.check_bounds(offset, length)
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """See `RandomAccessFile.read_into`; Refused (changed) if the server now has another version."""
        self.check_bounds(offset, len(buffer))
        wanted = ByteRange(offset, offset + len(buffer))
        for part in self._held.missing(wanted):
            self._fetch_now(part)
        for slot in self._held.slots(wanted):
            if slot.arrival is not None:
                slot.arrival.result()
            begin, end = max(offset, slot.byte_range.begin), min(wanted.end, slot.byte_range.end)
            slot.read_into(begin, buffer[begin - offset : end - offset])

    def will_read(self, byte_ranges: Sequence[tuple[int, int]]) -> None:
        """See `RandomAccessFile.will_read`: starts to fetch missing bytes in reading order."""
        inside = [ByteRange(at, at + n) for at, n in byte_ranges if at >= 0 and n > 0 and at + n <= self.size]
        for byte_range in requests_for(inside, self._held.missing):
            if self._pool is None:
                self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="filterzoo-range")
            slot = self._held.reserve(byte_range)
            slot.arrival = self._pool.submit(self._fetch, slot)
            self._held.add(slot)

    def beside(self, name: str) -> RandomAccessFile:
        """The file of that name in the same folder of the server; opened once, and closed with this one."""
        check_side_name(name)
        if name not in self._sides:
            self._sides[name] = self._open_url(sibling(self.url, name))
        return _Lent(self._sides[name])

    def close(self) -> None:
        """See `RandomAccessFile.close`. Waits for requests in progress to stop."""
        self._is_closed.set()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._held.close()
        for side in self._sides.values():
            side.close()

    def _fetch_now(self, part: ByteRange) -> None:
        """Fetch a byte range that was not announced, with read-ahead if it is small."""
        end = min(part.end + self._ahead.length(part), self.size)
        slot = self._held.reserve(self._held.missing(ByteRange(part.begin, end))[0])
        self._ahead.took(slot.byte_range, part)
        self._fetch(slot)
        self._held.add(slot)

    def _fetch(self, slot: Slot) -> None:
        """Fill a slot from the address after redirects; such addresses expire, and one request renews them."""
        location = self._location
        if location == self.url:
            self._fetch_from(self.url, slot)
            return
        if self._has_fetched(location, slot):
            return
        with self._renewing:
            if self._location == location:
                self._fetch_from(self.url, slot)
                return
        if not self._has_fetched(self._location, slot):
            self._fetch_from(self.url, slot)

    def _has_fetched(self, location: str, slot: Slot) -> bool:
        """Fill a slot from a signed address; False if it has expired (received bytes stay in the slot)."""
        try:
            self._fetch_from(location, slot)
        except Refused as refusal:
            if refusal.reason is Reason.CHANGED or self._is_closed.is_set():
                raise
        return slot.is_full

    def _fetch_from(self, url: str, slot: Slot) -> None:
        """Fill a slot; a retry continues after the received bytes."""

        def attempt() -> None:
            self._check_open()
            begin, end = slot.filled, slot.byte_range.end
            headers = {"Range": f"bytes={begin}-{end - 1}", "Accept-Encoding": "identity"}
            if self.version.etag:
                headers["If-Range"] = self.version.etag
            with self.transport.get(url, headers, frozenset({200, 206, 416})) as response:
                self._check(response, begin, end)
                if url == self.url:
                    self._location = str(response.url)
                for part in self.transport.body(response, raw=True):
                    self._check_open()
                    slot.write(part)
                    if slot.is_full and "content-length" not in response.headers:
                        break  # a server may send a shorter range
            if not slot.is_full:
                raise Transient("the response is shorter than it states")

        self.transport.retrying(url, attempt)

    def _check_open(self) -> None:
        if self._is_closed.is_set():
            raise Refused(Reason.FETCH_FAILED, "the file was closed while it was fetched", shown(self.url))

    def _check(self, response: httpx.Response, start: int, end: int) -> None:
        """Refused (changed) for another version, Transient for a response with another byte range than requested."""
        etag, modified = strong_etag(response), response.headers.get("last-modified")
        if response.status_code != 206:
            same = etag == self.version.etag if self.version.etag else modified == self.version.modified
            if same and response.status_code == 200:
                raise Transient("the server ignored a Range request it understood before")
            raise Refused(Reason.CHANGED, "the file changed on the server while it was read", shown(self.url))
        version = ranged_version(response, start)
        if version is None or range_end(response) != end:
            raise Transient("the server sent another range than requested")
        if version.size != self.size or (etag, modified) != (self.version.etag, self.version.modified):
            raise Refused(Reason.CHANGED, "the file changed on the server while it was read", shown(self.url))


class _ReadAhead:
    """The size of the read-ahead, which shrinks with every byte that was read ahead and not used."""

    def __init__(self) -> None:
        self._budget = READ_AHEAD_BUDGET
        self._last = ByteRange(0, 0)
        self._last_unasked = 0

    def length(self, part: ByteRange) -> int:
        """The number of bytes to fetch after `part`."""
        if part.begin == self._last.end:
            self._budget += self._last_unasked  # the read-ahead was used
            self._last_unasked = 0
        most = READ_AHEAD * self._budget // READ_AHEAD_BUDGET
        return max(0, most - part.length)

    def took(self, fetched: ByteRange, part: ByteRange) -> None:
        """Record the byte range that was fetched for `part`."""
        self._last = fetched
        self._last_unasked = fetched.end - part.end
        self._budget -= self._last_unasked


class _Lent(RandomAccessFile):
    """A side file that its owner closes."""

    def __init__(self, file: RandomAccessFile) -> None:
        self._file = file
        self.size = file.size
        self.is_remote = file.is_remote
        self.stated_sha256 = file.stated_sha256
        self.verified_sha256 = file.verified_sha256

    def read(self, offset: int, length: int) -> bytes:
        return self._file.read(offset, length)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self._file.read_into(offset, buffer)

    def will_read(self, byte_ranges: Sequence[tuple[int, int]]) -> None:
        self._file.will_read(byte_ranges)

    def beside(self, name: str) -> RandomAccessFile:
        return self._file.beside(name)


def sibling(url: str, name: str) -> str:
    """The URL of the file of that name in the same folder or below (`check_side_name`)."""
    return urljoin(url, "./" + quote(name, safe="/", errors="surrogatepass"))
