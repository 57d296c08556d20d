"""Small documents that a manifest names: a local file or a URL; a document at a commit is fetched once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from filterzoo import Reason, Refused
from filterzoo.network.addresses import is_http

if TYPE_CHECKING:
    from filterzoo import Door

from filterzoo.files import open_regular

_AT_COMMIT = re.compile(r"/[0-9a-f]{40}(/|$)")


def bytes_at(url: str, door: Door, limit: int) -> bytes:
    """The document at a URL; from the cache if the URL contains a commit, since it never changes then."""
    return (door.get_pinned if _AT_COMMIT.search(url) else door.get_bytes)(url, limit=limit)


def text_at(place: str, door: Door, folder: Path, limit: int) -> str:
    """A text at a URL, or in a file relative to the manifest; Refused if it does not exist."""
    if is_http(place):
        content = bytes_at(place, door.trusting(place), limit)
    else:
        try:
            with open_regular(folder / place) as file:
                content = file.read(limit + 1)
        except OSError as error:
            raise Refused(Reason.REMOVED, f"cannot be read: {error.strerror}", place) from error
    if len(content) > limit:
        raise Refused(Reason.LIMIT, f"longer than {limit} bytes", place)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(Reason.MALFORMED, "not a text", place) from error
