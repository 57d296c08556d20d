"""Opens a remote file by byte ranges, if its server supports them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import IO

import httpx

from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.network.addresses import shown
from filterzoo.network.files.download import Download, check_hash, check_size, refuse_html
from filterzoo.network.files.http_file import HttpFile, Version, linked_sha256, ranged_version, strong_etag
from filterzoo.network.files.ranges import READ_AHEAD
from filterzoo.network.hosts import rules_of
from filterzoo.network.transport import Transient, stated_length
from filterzoo.records import Artifact


def probed(
    artifact: Artifact,
    download: Download,
    open_url: Callable[[str], RandomAccessFile],
    scratch: Callable[[], IO[bytes]],
) -> HttpFile | Path | None:
    """The file by byte ranges, with its first bytes.

    If the server does not support range requests, it sends all of the file. If that is no larger than the first bytes
    of others, it is kept in memory like these. Otherwise the result is its path in the cache, or None if it has to be
    downloaded with another request. open_url, scratch: see `HttpFile`. Refused if its size differs from the stated one,
    or is larger than the download allows.
    """
    found = download.transport.retrying(artifact.url, lambda: _probed_once(download, open_url, scratch))
    if isinstance(found, HttpFile):
        check_size(artifact.size, found.size, artifact.url)
    return found


def _taken(download: Download, response: httpx.Response) -> Path | None:
    """See `Download.taken_from`; None too while another process downloads the file."""
    if response.status_code != HTTPStatus.OK:
        return None
    with download.cache.lock(download.key, wait=False) as is_held:
        return download.taken_from(response) if is_held else None


def _small_version(response: httpx.Response, url: str) -> Version | None:
    """The version of a file that a response brings completely; None if it is too large to be kept in memory.

    None too for a host whose files are to be kept in the cache.
    """
    whole = response.status_code == HTTPStatus.OK and "content-encoding" not in response.headers
    size = stated_length(response) if whole and not rules_of(url).keeps else None
    if not size or size > READ_AHEAD:
        return None
    return Version(size, strong_etag(response), response.headers.get("last-modified"))


def _probed_once(
    download: Download, open_url: Callable[[str], RandomAccessFile], scratch: Callable[[], IO[bytes]]
) -> HttpFile | Path | None:
    url, transport, most = download.url, download.transport, download.max_bytes
    headers = {"Range": f"bytes=0-{READ_AHEAD - 1}", "Accept-Encoding": "identity"}
    stated: list[str] = []

    def note(redirect: httpx.Response) -> None:
        stated.extend(filter(None, [linked_sha256(redirect)]))

    with transport.get(url, headers, frozenset({200, 206, 416}), note) as response:
        refuse_html(response, url)
        version = ranged_version(response, 0) if response.status_code == 206 else _small_version(response, url)
        if version is None:
            return _taken(download, response)
        if version.size > most:  # before any byte is fetched
            detail = f"the server states {version.size} bytes, {most} are allowed"
            raise Refused(Reason.TOO_LARGE, detail, shown(url))
        head = bytearray()
        for part in transport.body(response, raw=True):
            head += part
            if len(head) > READ_AHEAD:
                return None
        if len(head) < min(READ_AHEAD, version.size):
            raise Transient("the response is shorter than it states")
        refuse_html(response, url, bytes(head))
        file = HttpFile(
            transport,
            url,
            version,
            bytes(head),
            location=str(response.url),
            stated_sha256=stated[0] if stated else None,
            open_url=open_url,
            scratch=scratch,
        )
        return _compared(file, head, download.sha256)


def _compared(file: HttpFile, head: bytes | bytearray, published: str | None) -> HttpFile:
    """The file; Refused (hash_mismatch) if its first bytes are all and do not have the published hash."""
    if len(head) == file.size and published is not None:
        file.verified_sha256 = hashlib.sha256(head).hexdigest()
        check_hash(published, file.verified_sha256, file.url)
    return file
