"""Opens a remote file by byte ranges, if its server supports them."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

import httpx

from filterzoo.errors import Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.network.addresses import shown
from filterzoo.network.download import check_size, refuse_html
from filterzoo.network.http_file import HttpFile, linked_sha256, ranged_version
from filterzoo.network.ranges import READ_AHEAD
from filterzoo.network.transport import Transient, Transport
from filterzoo.records import Artifact


def probed(
    artifact: Artifact,
    transport: Transport,
    most: int,
    open_url: Callable[[str], RandomAccessFile],
    scratch: Callable[[], IO[bytes]],
) -> HttpFile | None:
    """The file by byte ranges, with its first bytes; None if the server does not support range requests.

    most: largest allowed size in bytes. open_url, scratch: see `HttpFile`. Refused if its size differs from the stated
    one.
    """
    found = transport.retrying(artifact.url, lambda: _probed_once(artifact.url, transport, most, open_url, scratch))
    if found is not None:
        check_size(artifact.size, found.size, artifact.url)
    return found


def _probed_once(
    url: str,
    transport: Transport,
    most: int,
    open_url: Callable[[str], RandomAccessFile],
    scratch: Callable[[], IO[bytes]],
) -> HttpFile | None:
    headers = {"Range": f"bytes=0-{READ_AHEAD - 1}", "Accept-Encoding": "identity"}
    stated: list[str] = []

    def note(redirect: httpx.Response) -> None:
        stated.extend(filter(None, [linked_sha256(redirect)]))

    with transport.get(url, headers, frozenset({200, 206, 416}), note) as response:
        refuse_html(response, url)
        version = ranged_version(response, 0) if response.status_code == 206 else None
        if version is None:
            return None
        if version.size > most:  # before any byte is fetched
            detail = f"the server states {version.size} bytes, {most} are allowed"
            raise Refused(Reason.TOO_LARGE, detail, shown(url))
        head = bytearray()
        for part in transport.body(response, raw=True):
            head += part
            if len(head) > READ_AHEAD:
                return None
        if len(head) < min(READ_AHEAD, version.size):
            raise Transient("the answer is shorter than it says")
        refuse_html(response, url, bytes(head))
        return HttpFile(
            transport,
            url,
            version,
            bytes(head),
            location=str(response.url),
            stated_sha256=stated[0] if stated else None,
            open_url=open_url,
            scratch=scratch,
        )
