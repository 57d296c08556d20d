"""Shared by the listings of all medical repositories: the package, the network, and the curated facts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from filterzoo import Artifact, Checkpoint, Refusal, Refused
from filterzoo_plugins import facts
from filterzoo_plugins.encodings.zip import ZipIndex
from filterzoo_plugins.sources.packages.data import PackageData

if TYPE_CHECKING:
    from filterzoo import Door

_COLUMNS = {field.name for field in fields(Checkpoint)}


@dataclass(frozen=True, slots=True)
class MedicalRepository:
    """The context of one repository's listing. package: `name==version` of the package with its tables, or ""."""

    name: str
    door: Door
    package: str = ""
    index_url: str | None = None
    zenodo: str = "https://zenodo.org"
    all_folds: bool = False

    @property
    def tables(self) -> PackageData:
        """The package with the repository's tables."""
        return PackageData(self.package, self.door, self.index_url)

    def facts(self, *names: str) -> dict[str, Any]:
        """Curated columns of the first name that has a row; they override those of the repository as a whole."""
        table = facts.table("medical")
        keys = [f"{self.name}/{name}" for name in names]
        row = next((table[key] for key in keys if key in table), {})
        whole = table.get(self.name, {})
        return {column: row.get(column) or whole.get(column) for column in whole if column in _COLUMNS}

    def checkpoint(self, name: str, revision: str, artifacts: Sequence[Artifact], **columns: Any) -> Checkpoint:
        """A checkpoint of this repository; columns that are None leave the field empty."""
        return Checkpoint(id=f"{self.name}/{name}", revision=revision, artifacts=tuple(artifacts), **columns)

    def _members(self, url: str) -> list[str]:
        with self.door.open(Artifact(url=url)) as file:
            return sorted(ZipIndex(file).members)

    def zipped(self, url: str, name: str, revision: str) -> Iterator[str | Refusal]:
        """The names of the members of a remote zip archive, from its directory; or a refusal.

        The archives are in records that never change, so each is requested once by all runs that share the cache. A
        server without range requests sends the whole archive for its directory.
        """
        try:
            members = self.door.kept(f"members:{url}", lambda: self._members(url))
        except Refused as refusal:
            detail = f"cannot list the archive: {refusal.detail}"
            identity = f"{self.name}/{name}"
            yield Refusal(id=identity, revision=revision, reason=refusal.reason, detail=detail, url=url)
        else:
            yield from (member for member in members if not member.endswith("/"))
