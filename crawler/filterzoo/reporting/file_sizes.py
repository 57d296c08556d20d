"""Asks servers for the sizes of files that zoos do not state: one request each, whose headers are read alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import httpx

from filterzoo.errors import FilterZooError, Reason, Refused
from filterzoo.files import RandomAccessFile
from filterzoo.network.addresses import is_http, shown
from filterzoo.network.door import Door
from filterzoo.network.files.download import refuse_html
from filterzoo.network.files.http_file import ranged_version
from filterzoo.records import Artifact, Checkpoint
from filterzoo.source import Source

_ONE_BYTE = {"Range": "bytes=0-0", "Accept-Encoding": "identity"}
_EMPTY = "bytes */0"


class _Stated(Exception):
    """Raised in place of opening a file: its size in bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class SizeDoor(Door):
    """A door that opens and downloads nothing: it asks for the size, and raises it for `with_sizes`."""

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """Ask for the size at the artifact's address."""
        self._ask(artifact.url)

    def download(self, url: str, sha256: str | None = None, size: int | None = None) -> Path:
        """Ask for the size at the address."""
        del sha256, size
        self._ask(url)

    def _ask(self, url: str) -> NoReturn:
        raise _Stated(self.transport.retrying(url, lambda: self._stated(url)))

    def _stated(self, url: str) -> int:
        # Many storages do not answer HEAD with a signed address.
        with self.transport.get(url, _ONE_BYTE, frozenset({200, 206, 416})) as response:
            refuse_html(response, url)
            size = _size_of(response)
        if size is None:
            raise Refused(Reason.FETCH_FAILED, "the server states no size", shown(url))
        return size


def with_sizes(checkpoint: Checkpoint, source: Source) -> Checkpoint:
    """The checkpoint with the sizes that servers state; those of which they state none stay unknown.

    source: one with a `SizeDoor`.
    """
    return replace(checkpoint, artifacts=tuple(_with_size(artifact, source) for artifact in checkpoint.artifacts))


def _with_size(artifact: Artifact, source: Source) -> Artifact:
    if artifact.size is not None or not is_http(artifact.url):
        return artifact
    try:
        source.open(artifact).close()
    except _Stated as stated:
        return replace(artifact, size=stated.size)
    except (FilterZooError, OSError):
        return artifact
    except Exception:  # noqa: BLE001  # a source may raise anything; a size stays unknown
        return artifact
    return artifact


def _size_of(response: httpx.Response) -> int | None:
    """What the headers say of the whole file."""
    if response.status_code == 416:
        return 0 if response.headers.get("content-range", "").strip().lower() == _EMPTY else None
    if response.status_code == 206:
        version = ranged_version(response, 0)
        return version.size if version else None
    length = response.headers.get("content-length", "")
    is_encoded = response.headers.get("content-encoding", "identity").lower() != "identity"
    return int(length) if length.isascii() and length.isdecimal() and len(length) < 19 and not is_encoded else None
