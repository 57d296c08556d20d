"""Text files inside one pinned package, read in place: the package is neither installed nor imported."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filterzoo import Reason, Refused
from filterzoo_plugins.sources.packages.archive import open_archive
from filterzoo_plugins.sources.packages.index import (
    PackageIndex,
    configured_index,
    file_name,
    published_hash,
    split_pin,
)

if TYPE_CHECKING:
    from filterzoo import Door

MAX_TEXTS = 5_000
MAX_TEXT = 4_000_000
"""Longest file that is read, in bytes; tables of zoos are shorter."""


@dataclass(frozen=True, slots=True)
class PackageData:
    """A package as a set of texts.

    requirement: `name==version`. path: its local wheel, source archive or unpacked folder; None takes the archive from
    the index at `index_url`, by default the one configured for pip.
    """

    requirement: str
    door: Door
    index_url: str | None = None
    path: Path | None = None

    @property
    def version(self) -> str:
        """The pinned version."""
        return str(split_pin(self.requirement)[1])

    def texts(self, files: Iterable[str]) -> dict[str, str]:
        """Requested name -> text; a name is the end of a path inside the package.

        Refused (removed) if the package has no such file, (malformed) if it is not a text or too long.
        """
        if self.path is not None and self.path.is_dir():
            return {file: _text(file, _content(self.path / file)) for file in files}
        path, filename = self._archive()
        with open_archive(path, filename) as archive:
            found = {file: _member(file, archive.members) for file in files}
            for file, member in found.items():
                if archive.members[member] > MAX_TEXT:
                    raise Refused(Reason.MALFORMED, f"longer than {MAX_TEXT} bytes", file)
            return {file: _text(file, b"".join(archive.parts(member))) for file, member in found.items()}

    def matching(self, pattern: str) -> dict[str, str]:
        """Every text of an archive whose path matches the regular expression, by its path, in order.

        Files that are not texts, or too long for a table, are omitted.
        """
        wanted = re.compile(pattern)
        path, filename = self._archive()
        with open_archive(path, filename) as archive:
            names = sorted(name for name, size in archive.members.items() if size <= MAX_TEXT and wanted.search(name))
            if len(names) > MAX_TEXTS:
                raise Refused(Reason.LIMIT, f"more than {MAX_TEXTS} files match", filename)
            found = {name: b"".join(archive.parts(name)) for name in names}
        return {name: content.decode("utf-8", "replace") for name, content in found.items()}

    def _archive(self) -> tuple[Path, str]:
        if self.path is not None:
            return self.path, self.path.name
        name, version = split_pin(self.requirement)
        index = PackageIndex(self.index_url or configured_index(), self.door)
        found = index.archive(name, version)
        door = self.door.trusting(found.url)
        return door.download(found.url, published_hash(found.url), found.size), file_name(found.url)


def _member(file: str, members: Iterable[str]) -> str:
    """The shallowest member whose path ends in `file`, because source archives have a folder of their own."""
    found = [member for member in members if member == file or member.endswith(f"/{file}")]
    if not found:
        raise Refused(Reason.REMOVED, "the package has no such file", file)
    return min(found, key=lambda member: (member.count("/"), member))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_TEXT:
            raise Refused(Reason.MALFORMED, f"longer than {MAX_TEXT} bytes", path.name)
        return path.read_bytes()
    except OSError as error:
        raise Refused(Reason.REMOVED, f"the package's folder has no such file: {error.strerror}", path.name) from error


def _text(file: str, content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(Reason.MALFORMED, "not a text", file) from error
