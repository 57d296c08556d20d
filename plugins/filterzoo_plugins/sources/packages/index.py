"""A Python package index (PEP 503, PEP 691): the archives of a version, and the index URL that pip uses."""

from __future__ import annotations

import configparser
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import platformdirs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.tags import Tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    NormalizedName,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from filterzoo import Reason, Refused, StartError

if TYPE_CHECKING:
    from filterzoo import Document, Door

PYPI = "https://pypi.org/simple"
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


@dataclass(frozen=True, slots=True)
class DistributionFile:
    """One file of a release, as the index lists it. `url` ends in `#sha256=...` if the hash is published."""

    url: str
    size: int | None = None


class NoPackage(Refused):
    """Raised if the index has no package of that name."""


@dataclass(frozen=True, slots=True)
class PackageIndex:
    """An index of the simple API at `url`, such as https://pypi.org/simple."""

    url: str
    door: Door

    def page(self, name: str) -> str:
        """The address of a package's page; `name` in its canonical form."""
        return f"{self.url.rstrip('/')}/{name}/"

    def archive(self, name: str, version: Version) -> DistributionFile:
        """The archive of a version to read: the most portable wheel, else the source archive.

        Refused (removed) if there is none; StartError if the index cannot be reached.
        """
        archives = self.archives(name)
        ranked = [(rank, entry.url, entry) for entry in archives if (rank := _rank(file_name(entry.url), version))]
        if not ranked:
            raise Refused(Reason.REMOVED, f"the index has no wheel or source archive of {name} {version}", self.shown)
        return min(ranked, key=lambda choice: choice[:2])[-1]

    def archives(self, name: str) -> list[DistributionFile]:
        """All files of a package."""
        try:
            page = self.door.trusting(self.url).get(self.page(name), accept=_ACCEPT)
        except Refused as refusal:
            if refusal.reason is Reason.REMOVED:
                raise NoPackage(Reason.REMOVED, f"the index has no package {name}", self.shown) from refusal
            raise StartError(
                f"cannot read the package index {self.shown}: {refusal.detail}; check the network, or name a mirror "
                "in index_url or PIP_INDEX_URL"
            ) from refusal
        try:
            return list(_json_archives(page) if "json" in page.content_type else _html_archives(page))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise StartError(
                f"the package index {self.shown} answers with something that is no package page"
            ) from error

    @property
    def shown(self) -> str:
        """Its URL without secrets."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


def configured_index() -> str:
    """The index that is configured for pip: PIP_INDEX_URL, else pip's configuration files, else PyPI."""
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(_pip_files(), "utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return PYPI
    for section in ("install", "global"):
        if url := parser.get(section, "index-url", fallback=""):
            return url.strip()
    return PYPI


def _pip_files() -> list[Path]:
    """pip's configuration files; later files take precedence (pip, "Configuration")."""
    name = "pip.conf"
    chosen = os.environ.get("PIP_CONFIG_FILE")
    if chosen == os.devnull:
        return []
    folders = [
        Path(folder)
        for folder in platformdirs.site_config_dir("pip", appauthor=False, multipath=True).split(os.pathsep)
    ]
    system = [*(folder / name for folder in reversed(folders)), Path("/etc") / name]
    user = [
        Path.home() / ".pip" / name,
        Path(platformdirs.user_config_dir("pip", appauthor=False)) / name,
    ]
    return [*system, *user, Path(sys.prefix) / name, *([Path(chosen)] if chosen else [])]


def _rank(filename: str, version: Version) -> tuple[int, int, int] | None:
    """Sort key for the archives of a version, the most portable first; None for other versions."""
    try:
        if filename.endswith(".whl"):
            _, found, build, tags = parse_wheel_filename(filename)
            return (*_portability(tags), -(build[0] if build else 0)) if found == version else None
        _, found = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    return (3, 0, 0) if found == version else None


def _portability(tags: frozenset[Tag]) -> tuple[int, int]:
    """(0, ..) for a pure wheel, (1, ..) for one of any platform, (2, ..) for others; more tags sort first."""
    if any(tag.platform == "any" for tag in tags):
        return (0 if any(tag.abi == "none" for tag in tags) else 1), -len(tags)
    return 2, -len(tags)


def _json_archives(page: Document) -> Iterator[DistributionFile]:
    for file in json.loads(page.body)["files"]:
        url = urldefrag(urljoin(page.url, str(file["url"]))).url
        sha256, size = file.get("hashes", {}).get("sha256"), file.get("size")
        yield DistributionFile(f"{url}#sha256={sha256}" if sha256 else url, size if isinstance(size, int) else None)


def _html_archives(page: Document) -> Iterator[DistributionFile]:
    links = _Links()
    links.feed(page.body.decode("utf-8"))
    for link in links.found:
        yield DistributionFile(urljoin(page.url, link))


def file_name(url: str) -> str:
    """The last component of an archive's URL, which is its file name (PEP 503)."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def published_hash(url: str) -> str | None:
    """The sha256 in an archive's URL, in lower-case hex."""
    match = re.fullmatch(r"sha256=([0-9a-fA-F]{64})", urlsplit(url).fragment)
    return match[1].lower() if match else None


def pinned(text: str) -> str:
    """`Name==1.0` as `name==1.0`; ValueError for anything that is not exactly one version of one package."""
    try:
        requirement = Requirement(text)
        specifiers = list(requirement.specifier)
        if len(specifiers) == 1 and specifiers[0].operator == "==" and not requirement.url:
            plain = not requirement.extras and requirement.marker is None
            version = str(Version(specifiers[0].version))
            if plain:
                return f"{canonicalize_name(requirement.name)}=={version}"
    except (InvalidRequirement, InvalidVersion):
        pass
    raise ValueError(f"{text!r} is not pinned; write name==version, such as facenet-pytorch==2.6.0")


def web_address(url: str | None) -> str | None:
    """The URL, unchanged; ValueError if it is not an http(s) URL."""
    if url is not None and urlsplit(url).scheme not in {"http", "https"}:
        raise ValueError(f"{url!r} is not an http or https address")
    return url


def split_pin(requirement: str) -> tuple[NormalizedName, Version]:
    """Name and version of a result of `pinned`."""
    name, _, version = requirement.partition("==")
    return canonicalize_name(name), Version(version)


class _Links(HTMLParser):
    """The targets of all links of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.found += [value for key, value in attrs if key == "href" and value]
