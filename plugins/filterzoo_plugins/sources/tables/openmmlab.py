"""OpenMMLab's eight toolboxes: the `metafile.yml` files in their packages, read as data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from filterzoo import Artifact, Checkpoint, Operation, RandomAccessFile, Reason, Refusal, Refused, Source, hookimpl
from filterzoo.licensing.statements import UNRECOGNISED, LicenceOrigin, Statement, governing
from filterzoo.network.addresses import is_http
from filterzoo_plugins import facts
from filterzoo_plugins.sources.files.hash_prefix import hash_prefix, open_checked, revision
from filterzoo_plugins.sources.libraries.architectures import Architectures
from filterzoo_plugins.sources.packages.data import PackageData
from filterzoo_plugins.sources.packages.index import pinned
from filterzoo_plugins.sources.tables.zoo import (
    TableOptions,
    not_listed,
    package_licence,
    share_of,
    task_of,
    text_of,
    unique,
    yaml_of,
)

Name = Literal["mmpretrain", "mmdet", "mmsegmentation", "mmpose", "mmaction2", "mmyolo", "mmagic", "mmdet3d"]
PACKAGES: dict[Name, str] = {
    "mmpretrain": "mmpretrain==1.2.0",
    "mmdet": "mmdet==3.3.0",
    "mmsegmentation": "mmsegmentation==1.2.2",
    "mmpose": "mmpose==1.3.2",
    "mmaction2": "mmaction2==1.2.0",
    "mmyolo": "mmyolo==0.6.0",
    "mmagic": "mmagic==1.2.0",
    "mmdet3d": "mmdet3d==1.4.0",
}
_METAFILES = r"(^|/)\.mim/configs/.*\.ya?ml$"


class OpenMmLabOptions(TableOptions):
    """`repositories`: all, unless some are named. `packages`: other versions, `name==version` by repository."""

    repositories: Annotated[tuple[Name, ...], Field(min_length=1)] = tuple(PACKAGES)
    packages: dict[Name, Annotated[str, AfterValidator(pinned)]] = Field(default_factory=dict)


class OpenMmLabSource(Source[OpenMmLabOptions]):
    """Every model with weights; the id is `repository/name`, the revision the hash in the file's name.

    The packages state Apache-2.0. Weights converted from another project are under that project's licence, which the
    files do not state: unknown.
    """

    name: ClassVar[str] = "openmmlab"
    hosts: ClassVar[tuple[str, ...]] = ("download.openmmlab.com", "download.openxlab.org.cn")

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; a package of one or two megabytes is downloaded for each repository."""
        for repository in dict.fromkeys(self.options.repositories):
            package = PackageData(
                self.options.packages.get(repository, PACKAGES[repository]), self.door, self.options.index_url
            )
            try:
                found = list(_models(repository, package))
            except Refused as refusal:
                detail = f"cannot list the repository: {refusal.detail}"
                yield Refusal(id=repository, revision=package.version, reason=not_listed(refusal), detail=detail)
            else:
                yield from (one for one in unique(found) if self.options.wants(one.id))

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`; digits of a hash in the name are checked."""
        return open_checked(self.door, artifact) if hash_prefix(artifact.url) else super().open(artifact)

    def architectures(self, checkpoint: Checkpoint) -> Iterator[Mapping[str, Operation]]:
        """See `Source.architectures`."""
        return Architectures().of(checkpoint.architecture)


def _models(repository: str, package: PackageData) -> Iterator[Checkpoint | Refusal]:
    licence = package_licence(package)
    for path, text in package.matching(_METAFILES).items():
        place = path.partition(".mim/")[2]
        try:
            document = yaml_of(text, place)
        except Refused as refusal:
            yield Refusal(
                id=f"{repository}/{place}", revision=package.version, reason=refusal.reason, detail=refusal.detail
            )
            continue
        models = document.get("Models") if isinstance(document, dict) else None
        collections = {
            str(entry.get("Name")): entry
            for entry in (document.get("Collections") if isinstance(document, dict) else None) or []
            if isinstance(entry, dict)
        }
        for model in models if isinstance(models, list) else []:
            if isinstance(model, dict):
                collection = collections.get(str(model.get("In Collection")), {})
                yield from _checkpoints(_Model(repository, package.version, model, collection, licence))


@dataclass(frozen=True, slots=True)
class _Model:
    """One entry of `Models`, and its collection. licence: of the package that lists it."""

    repository: str
    version: str
    model: dict[str, Any]
    collection: dict[str, Any]
    licence: Statement | None


def _checkpoints(found: _Model) -> Iterator[Checkpoint | Refusal]:
    weights = found.model.get("Weights")
    named = weights if isinstance(weights, list) else [weights]
    urls = [url.strip() for url in named if isinstance(url, str) and is_http(url.strip())]
    if not urls:
        identity = f"{found.repository}/{text_of(found.model.get('Name')) or 'unnamed'}"
        yield Refusal(id=identity, revision=found.version, reason=Reason.REMOVED, detail="no file of it is named")
    yield from (_checkpoint(found, url) for url in urls)


def _checkpoint(found: _Model, url: str) -> Checkpoint:
    model, collection = found.model, found.collection
    metadata = {**_map(collection.get("Metadata")), **_map(model.get("Metadata"))}
    stated = model.get("Results") or []
    results = [entry for entry in (stated if isinstance(stated, list) else [stated]) if isinstance(entry, dict)]
    first = results[0] if results else {}
    metrics = {str(key).lower(): value for key, value in _map(first.get("Metrics")).items()}
    task = task_of(text_of(first.get("Task")), text_of(collection.get("Task")))
    data = text_of(metadata.get("Training Data")) or text_of(first.get("Dataset"))
    kind = facts.table("datasets").get((data or "").lower(), {})
    original = Statement(UNRECOGNISED, LicenceOrigin.ORIGINAL) if model.get("Converted From") else None
    governs, governs_from = governing(found.licence, original)
    return Checkpoint(
        id=f"{found.repository}/{text_of(model.get('Name')) or url.rpartition('/')[2]}",
        revision=revision(url) or found.version,
        artifacts=(Artifact(url=url, name=url.rpartition("/")[2]),),
        url=url,
        licence=governs,
        licence_from=governs_from,
        architecture=text_of(model.get("In Collection")),
        task=task,
        training_dataset=data,
        pretraining_dataset=text_of(metadata.get("Pretrained")),
        visual_category=kind.get("visual_category"),
        modality=kind.get("modality"),
        clean_accuracy=share_of(metrics.get("top 1 accuracy")) if task == "classification" else None,
    )


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [OpenMmLabSource]
