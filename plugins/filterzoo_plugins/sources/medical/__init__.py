"""Networks for medical images, from eight repositories; each has its own module in this package."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from filterzoo import (
    Artifact,
    Checkpoint,
    Operation,
    RandomAccessFile,
    Refusal,
    Refused,
    Source,
    SourceOptions,
    hookimpl,
)
from filterzoo_plugins.sources.files.hash_prefix import open_checked
from filterzoo_plugins.sources.libraries.architectures import Architectures
from filterzoo_plugins.sources.medical import (
    lungmask,
    medicalnet,
    medmnist,
    monai,
    nnunet_v1,
    radimagenet,
    torchxrayvision,
    totalsegmentator,
)
from filterzoo_plugins.sources.medical._repository import MedicalRepository
from filterzoo_plugins.sources.packages.index import pinned, web_address
from filterzoo_plugins.sources.tables.zoo import not_listed

if TYPE_CHECKING:
    from filterzoo import Door

Listing = Callable[[MedicalRepository], Iterator[Checkpoint | Refusal]]
Name = Literal[
    "lungmask",
    "medicalnet",
    "medmnist",
    "monai",
    "nnunet_v1",
    "radimagenet",
    "torchxrayvision",
    "totalsegmentator",
]

REPOSITORIES: dict[Name, Listing] = {
    "lungmask": lungmask.checkpoints,
    "medicalnet": medicalnet.checkpoints,
    "medmnist": medmnist.checkpoints,
    "monai": monai.checkpoints,
    "nnunet_v1": nnunet_v1.checkpoints,
    "radimagenet": radimagenet.checkpoints,
    "torchxrayvision": torchxrayvision.checkpoints,
    "totalsegmentator": totalsegmentator.checkpoints,
}
"""Repository -> function that lists it. Ids start with the repository's name."""

PACKAGES = {
    "lungmask": "lungmask==0.2.22",
    "nnunet_v1": "nnunet==1.7.1",
    "torchxrayvision": "torchxrayvision==1.5.7",
    "totalsegmentator": "totalsegmentator==2.18.0",
}
"""Repositories whose list of weights is a table in a Python package, read as data."""


class MedicalOptions(SourceOptions):
    """`repositories`: all, unless some are named. `include`, `exclude`: globs over `repository/name`.

    `packages`: other versions of the packages, `name==version` by repository. `folds`: of networks trained several
    times on parts of the data, the first or all. `zenodo`: another URL of Zenodo.
    """

    repositories: Annotated[tuple[Name, ...], Field(min_length=1)] = tuple(REPOSITORIES)
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    packages: dict[Name, Annotated[str, AfterValidator(pinned)]] = Field(default_factory=dict)
    index_url: Annotated[str | None, AfterValidator(web_address)] = None
    folds: Literal["first", "all"] = "first"
    zenodo: Annotated[str, AfterValidator(web_address)] = "https://zenodo.org"


class MedicalSource(Source[MedicalOptions]):
    """Every network of the chosen repositories; a failing repository goes to the ledger, the others are listed.

    Known facts that a repository does not state are in `manifests/facts/medical.csv`.
    """

    name: ClassVar[str] = "medical"

    def __init__(self, options: MedicalOptions, door: Door, folder: Path) -> None:
        # The user's Hub may be on a private network; archives are opened by the door as well.
        chosen = os.environ.get("HF_ENDPOINT")
        super().__init__(options, door.trusting(chosen) if chosen else door, folder)
        self._architectures = Architectures()

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; packages with tables are downloaded, and the directories of zip archives are read."""
        options = self.options
        for name in dict.fromkeys(options.repositories):
            package = options.packages.get(name, PACKAGES.get(name, ""))
            repository = MedicalRepository(
                name, self.door, package, options.index_url, options.zenodo, all_folds=options.folds == "all"
            )
            for found in _listed(repository, REPOSITORIES[name]):
                is_wanted = any(fnmatchcase(found.id, pattern) for pattern in options.include)
                if is_wanted and not any(fnmatchcase(found.id, pattern) for pattern in options.exclude):
                    yield found

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`; a file that is named by its hash is downloaded completely and checked."""
        return open_checked(self.door, artifact) if lungmask.is_named_by_hash(artifact.url) else super().open(artifact)

    def architectures(self, checkpoint: Checkpoint) -> Iterator[Mapping[str, Operation]]:
        """See `Source.architectures`: timm's or torchvision's of that name, for colour or for grey images."""
        return self._architectures.of(checkpoint.architecture, channels=(3, 1))


def _listed(repository: MedicalRepository, listing: Listing) -> Iterator[Checkpoint | Refusal]:
    try:
        yield from listing(repository)
    except Refused as refusal:
        detail = f"cannot list the repository: {refusal.detail}"
        revision = repository.package.rpartition("=")[2] or "main"
        yield Refusal(id=repository.name, revision=revision, reason=not_listed(refusal), detail=detail)


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [MedicalSource]
