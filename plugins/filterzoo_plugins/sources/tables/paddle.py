"""PaddleClas, PaddleDetection and PaddleSeg: the URLs of weights in their packages and documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from filterzoo import Artifact, Checkpoint, NetworkTask, Refusal, Refused, Source, hookimpl
from filterzoo.licensing.statements import governing
from filterzoo_plugins import facts
from filterzoo_plugins.sources.files.documents import bytes_at
from filterzoo_plugins.sources.packages.data import PackageData
from filterzoo_plugins.sources.packages.index import pinned, web_address
from filterzoo_plugins.sources.tables.zoo import TableOptions, package_licence

Name = Literal["paddleclas", "paddledet", "paddleseg"]
PACKAGES: dict[Name, str] = {
    "paddleclas": "paddleclas==2.6.0",
    "paddledet": "paddledet==2.6.0",
    "paddleseg": "paddleseg==2.8.0",
}
_TASKS = {
    "paddleclas": NetworkTask.CLASSIFICATION,
    "paddledet": NetworkTask.DETECTION,
    "paddleseg": NetworkTask.SEGMENTATION,
}
_TEXTS = r"\.(py|ya?ml)$|/MODEL_ZOO$"
_ADDRESS = re.compile(r"https?://[\w.:/%+-]{5,300}?\.pdparams")
_NAMES = re.compile(r"^[\w.-]+/[\w./-]+$", re.MULTILINE)
_MODELS = "https://paddledet.bj.bcebos.com/models"
MAX_DOCUMENT = 4_000_000


class PaddleOptions(TableOptions):
    """`repositories`: all, unless some are named. `packages`: other versions, by repository.

    `documents`: false omits the READMEs in `manifests/facts/paddle_documents.csv`, which are fetched from `raw`.
    """

    repositories: Annotated[tuple[Name, ...], Field(min_length=1)] = tuple(PACKAGES)
    packages: dict[Name, Annotated[str, AfterValidator(pinned)]] = Field(default_factory=dict)
    documents: bool = True
    raw: Annotated[str, AfterValidator(web_address)] = "https://raw.githubusercontent.com"


class PaddleSource(Source[PaddleOptions]):
    """Every URL of weights once; the id is `repository/file`. Their licence is that of the package."""

    name: ClassVar[str] = "paddle"
    hosts: ClassVar[tuple[str, ...]] = ("*.bcebos.com",)

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; a document that cannot be fetched refuses only its own models."""
        seen: set[str] = set()
        for repository in dict.fromkeys(self.options.repositories):
            package = PackageData(
                self.options.packages.get(repository, PACKAGES[repository]), self.door, self.options.index_url
            )
            licence, licence_from = governing(package_licence(package))
            columns = {"licence": licence, "licence_from": licence_from, "task": _TASKS[repository].value}
            for found in self._addresses(repository, package):
                if isinstance(found, Refusal):
                    yield found
                elif found not in seen:
                    seen.add(found)
                    name = found.partition("://")[2].partition("/")[2].removesuffix(".pdparams")
                    if self.options.wants(f"{repository}/{name}"):
                        yield _checkpoint(f"{repository}/{name}", found, package.version, columns)

    def _addresses(self, repository: str, package: PackageData) -> Iterator[str | Refusal]:
        for path, text in package.matching(_TEXTS).items():
            yield from sorted(set(_ADDRESS.findall(text)))
            if path.endswith("/MODEL_ZOO"):
                names = [line.rpartition("/")[2].removesuffix(".yml") for line in _NAMES.findall(text)]
                yield from (f"{_MODELS}/{name}.pdparams" for name in names)
        rows = facts.rows("paddle_documents") if self.options.documents else []
        for row in rows:
            if row["package"] == repository:
                url = f"{self.options.raw}/{row['repository']}/{row['commit']}/{row['path']}"
                try:
                    text = bytes_at(url, self.door, MAX_DOCUMENT).decode("utf-8", "replace")
                except Refused as refusal:
                    detail = f"the document cannot be had: {refusal.detail}"
                    place = f"{repository}/{row['path']}"
                    yield Refusal(id=place, revision=str(row["commit"]), reason=refusal.reason, detail=detail, url=url)
                else:
                    yield from sorted(set(_ADDRESS.findall(text)))


def _checkpoint(identity: str, url: str, version: str, columns: dict[str, Any]) -> Checkpoint:
    file = url.rpartition("/")[2]
    name = re.sub(r"_(ssld_)?pretrained$", "", file.removesuffix(".pdparams"))
    artifact = Artifact(url=url, name=file)
    return Checkpoint(
        id=identity, revision=f"paddle-{version}", artifacts=(artifact,), url=url, architecture=name, **columns
    )


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [PaddleSource]
