"""Wheels and source archives, read as archives: members are listed and copied, nothing is installed or unpacked."""

from __future__ import annotations

import gzip
import lzma
import tarfile
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from packaging.metadata import parse_email

from filterzoo import Licence, Reason, Refused

MAX_MEMBERS = 100_000
MAX_METADATA = 4_000_000
_PIECE = 1_048_576
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError, ValueError)


class PackageArchive(ABC):
    """An open wheel or source archive. `members` maps the names of its regular files to their sizes in bytes."""

    members: dict[str, int]
    repeated: frozenset[str]
    """Names that occur more than once: readers disagree on which of them counts."""

    @abstractmethod
    def stream(self, name: str) -> IO[bytes]:
        """A member's bytes from its start."""

    def parts(self, name: str) -> Iterator[bytes]:
        """A member's bytes in pieces, checked at the end by the archive's own checksum, if it has one.

        Refused: removed if there is none of that name, unsafe if there are several, damaged, unsupported (encrypted, an
        unknown compression).
        """
        if name not in self.members:
            raise Refused(Reason.REMOVED, "the archive has no such member", ascii(name)[:200])
        if name in self.repeated:
            raise Refused(Reason.UNSAFE, "the archive has several members of this name", ascii(name)[:200])
        with _naming_damage(name), self.stream(name) as stream:
            left = self.members[name]
            while part := stream.read(_PIECE):
                left -= len(part)
                if left < 0:
                    raise Refused(Reason.DAMAGED, "the member is larger than the archive says", ascii(name)[:200])
                yield part
            if left:
                raise Refused(Reason.DAMAGED, "the member is smaller than the archive says", ascii(name)[:200])

    def licence(self) -> str | None:
        """The unparsed licence in the metadata: License-Expression, or the strictest of License and classifiers."""
        name = self._metadata_name()
        if name is None or self.members[name] > MAX_METADATA:
            return None
        raw, _ = parse_email(b"".join(self.parts(name)))
        if expression := raw.get("license_expression"):
            return expression
        classifiers = [entry for entry in raw.get("classifiers", []) if entry.startswith("License ::")]
        stated = [text for text in (raw.get("license", "").strip(), "\n".join(classifiers)) if text]
        known = [text for text in stated if Licence.parse(text).expression]
        if known:
            return max(known, key=lambda text: Licence.parse(text).licence_class.strictness)
        return stated[0] if stated else None

    def _metadata_name(self) -> str | None:
        """`NAME-VERSION.dist-info/METADATA` of a wheel, `NAME-VERSION/PKG-INFO` of a source archive."""
        for ending in (".dist-info/METADATA", "/PKG-INFO"):
            for name in self.members:
                if name.endswith(ending) and name.count("/") == 1:
                    return name
        return None


class _Zip(PackageArchive):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        files = [entry for entry in archive.infolist() if not entry.is_dir()]
        self.members = {entry.filename: entry.file_size for entry in files}
        self.repeated = _repeated(entry.filename for entry in files)

    def stream(self, name: str) -> IO[bytes]:
        return self._archive.open(name)


class _Tar(PackageArchive):
    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._entries: dict[str, tarfile.TarInfo] = {}
        names: list[str] = []
        for entry in archive:
            if len(names) > MAX_MEMBERS:
                raise Refused(Reason.LIMIT, f"the archive has more than {MAX_MEMBERS} members")
            if entry.isreg():
                names.append(entry.name)
                self._entries[entry.name] = entry
        self.members = {name: entry.size for name, entry in self._entries.items()}
        self.repeated = _repeated(names)

    def stream(self, name: str) -> IO[bytes]:
        stream = self._archive.extractfile(self._entries[name])
        if stream is None:
            raise tarfile.TarError("not a regular file")
        return stream


@contextmanager
def open_archive(path: Path, filename: str) -> Iterator[PackageArchive]:
    """Open a wheel, .zip or .tar.gz; Refused (damaged, limit) if it cannot be read. `filename` determines its kind."""
    if filename.endswith((".whl", ".zip")):
        with _naming_damage(filename):
            archive = zipfile.ZipFile(path)
        with archive:
            if len(archive.infolist()) > MAX_MEMBERS:
                raise Refused(Reason.LIMIT, f"the archive has more than {MAX_MEMBERS} members")
            yield _Zip(archive)
        return
    with _naming_damage(filename):
        tar = tarfile.open(path, "r:*")  # noqa: SIM115  # closed below; only opening and listing names its damage
    with tar:
        with _naming_damage(filename):
            package = _Tar(tar)
        yield package


@contextmanager
def _naming_damage(name: str) -> Iterator[None]:
    try:
        yield
    except (NotImplementedError, RuntimeError) as error:
        raise Refused(
            Reason.UNSUPPORTED, f"the archive's member is encrypted or unusual: {error}", ascii(name)[:200]
        ) from error
    except _DAMAGE as error:
        raise Refused(
            Reason.DAMAGED, f"the archive is damaged: {' '.join(str(error).split())}"[:300], ascii(name)[:200]
        ) from error


def _repeated(names: Iterable[str]) -> frozenset[str]:
    seen: set[str] = set()
    twice: set[str] = set()
    for name in names:
        (twice if name in seen else seen).add(name)
    return frozenset(twice)
