"""Parses the location of a model file: a path, a URL, an `hf://` address, or a member of an archive."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from filterzoo.errors import Reason, Refused

_HF = re.compile(r"hf://(?P<repo>(?:datasets/|spaces/)?[^/@!]+/[^/@!]+)(?:@(?P<revision>[^/]+))?/(?P<path>.+)")
_INSIDE = re.compile(
    r"(?P<archive>.+?\.(?:zip|whl|egg|tar|tgz|txz|tbz2?|tar\.(?:gz|bz2|xz)))!/?(?P<member>.+)", re.IGNORECASE
)
"""`archive!member`: an exclamation mark counts only after an archive's ending."""


@dataclass(frozen=True, slots=True)
class Location:
    """A file. Exactly one of `path` and `url` is set; `member` names the model, if the file is an archive.

    is_hub: whether the Hub's token is sent to the URL.
    """

    path: Path | None
    url: str
    member: str | None = None
    is_hub: bool = False

    @property
    def name(self) -> str:
        """The file's name."""
        if self.path is not None:
            return self.path.name
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


def location_of(where: str | os.PathLike[str], member: str | None = None) -> Location:
    """Parse a location. Refused (fetch_failed) for an `hf://` address without a file."""
    text = os.fspath(where)
    if text.startswith(("http://", "https://", "hf://")):
        text, member = _split(text, member)
        if text.startswith("hf://"):
            return Location(None, _hub_url(text), member, is_hub=True)
        return Location(None, text, member)
    if member is None and not os.path.lexists(text):
        text, member = _split(text, None)
    return Location(Path(text), "", member)


def hub_endpoint() -> str:
    """HF_ENDPOINT, or the Hub's address."""
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"


def _split(text: str, member: str | None) -> tuple[str, str | None]:
    match = _INSIDE.fullmatch(text)
    return (match["archive"], match["member"]) if match and member is None else (text, member)


def _hub_url(text: str) -> str:
    match = _HF.fullmatch(text)
    if match is None:
        detail = "an hf:// address is hf://user/name/file or hf://user/name@revision/file"
        raise Refused(Reason.FETCH_FAILED, detail, ascii(text)[:200])
    revision = unquote(match["revision"] or "main")
    path = quote(match["path"], safe="/")
    return f"{hub_endpoint()}/{quote(match['repo'], safe='/')}/resolve/{quote(revision, safe='')}/{path}"
