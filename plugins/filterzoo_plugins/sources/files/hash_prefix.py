"""Files whose name contains the first digits of their sha256, as in PyTorch's zoos (`resnet18-f37072fd.pth`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from filterzoo import Artifact, LocalFile, Reason, Refused

if TYPE_CHECKING:
    from filterzoo import Door

_DAY = re.compile(r"20[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")
_PREFIX = re.compile(r"-([0-9a-f]{8,64})\.[\w.]+$")


def hash_prefix(url: str) -> str | None:
    """The digits in a URL's file name (torch.hub's HASH_REGEX, of at least eight digits)."""
    match = _PREFIX.search(url.rpartition("/")[2])
    # `-20231122.pth` ends in a date.
    return match[1] if match and not _DAY.fullmatch(match[1]) else None


def revision(url: str) -> str | None:
    """The revision: the digits, or None."""
    prefix = hash_prefix(url)
    return f"sha256:{prefix}" if prefix else None


def open_checked(door: Door, artifact: Artifact) -> LocalFile:
    """The whole file, its hash compared with its name; Refused (hash_mismatch) if they differ."""
    prefix = hash_prefix(artifact.url)
    path = door.download(artifact.url, artifact.sha256, artifact.size)
    sha256 = path.name  # the cache names files by their content
    if prefix is None or not sha256.startswith(prefix):
        raise Refused(
            Reason.HASH_MISMATCH, f"the content's sha256 starts with {sha256[:8]}, not as its name says", artifact.name
        )
    file = LocalFile(path, follow_links=False)
    file.verified_sha256 = sha256
    return file
