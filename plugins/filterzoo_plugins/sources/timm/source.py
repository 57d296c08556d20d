"""PyTorch Image Models: every pretrained weight that the installed timm registers, without downloading any."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from filterzoo import (
    Artifact,
    Checkpoint,
    NetworkTask,
    Operation,
    RandomAccessFile,
    Reason,
    Refusal,
    Refused,
    Source,
    SourceOptions,
    hookimpl,
)
from filterzoo_plugins import facts
from filterzoo_plugins.sources.files.documents import text_at
from filterzoo_plugins.sources.files.hash_prefix import hash_prefix, open_checked, revision
from filterzoo_plugins.sources.hub.api import Hub
from filterzoo_plugins.sources.timm import results
from filterzoo_plugins.sources.timm.repositories import UNPINNED, located, refused, repositories
from filterzoo_plugins.sources.timm.tags import training_data

if TYPE_CHECKING:
    from filterzoo import Door

Facts = Mapping[str, Mapping[str, str | None]]
"""See `facts.table`."""

_FEW = 20
"""Most repositories of an author that are requested one by one, which gives sizes and hashes; more are listed."""

MAX_RESULTS = 4_000_000

_EMBEDDINGS = frozenset({384, 512, 640, 768, 1024, 1152, 1280})
"""Widths of image-text embeddings, which timm states in place of the number of classes."""


class TimmOptions(SourceOptions):
    """`include`, `exclude`: globs over `arch.tag`. `pin`: false makes no requests to the Hub, for plans only.

    `sizes`: request the sizes and hashes of files from each repository, also for authors whose repositories are listed,
    because a listing has none. `results`: timm's `results-imagenet.csv`, a path or a URL at a commit, for clean
    accuracies: the package has none.
    """

    include: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    exclude: tuple[str, ...] = ()
    pin: bool = True
    sizes: bool = False
    results: str | None = None


class TimmSource(Source[TimmOptions]):
    """Every `arch.tag` of the installed timm is a checkpoint; the id is `arch.tag`, the revision the Hub's commit.

    The list itself needs no network. Commits, sizes and hashes are requested from the Hub. If it is unreachable, the
    revision is `unpinned`, which serves a dry run and is refused by a crawl. The few networks that are not on the Hub
    are fetched from their URL and checked against the sha256 in its name.
    Two names of one repository (CLIP's quickgelu twins) are one checkpoint, under the repository's own name if the
    globs select it; the other goes to the ledger as a duplicate.
    """

    name: ClassVar[str] = "timm"

    def __init__(self, options: TimmOptions, door: Door, folder: Path) -> None:
        super().__init__(options, door, folder)
        self._known_operations: dict[str, Mapping[str, Operation]] = {}

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`."""
        hub = Hub(self.door)
        listed = [_Pretrained(name, config) for name, config in sorted(_configurations().items()) if self._wants(name)]
        few = math.inf if self.options.sizes else _FEW
        repos = [pretrained.repo for pretrained in listed if pretrained.repo]
        lookup = repositories(hub, repos, few) if self.options.pin else None
        datasets = {token: row["dataset"] or "" for token, row in facts.table("timm_tags").items()}
        categories, pairs = facts.table("datasets"), facts.table("pairs")
        accuracies = self._accuracies()
        kept, name_of_url = _kept(listed), dict[str, str]()
        for pretrained in listed:
            described = pretrained.described(datasets, categories, pairs)
            described = replace(
                described, clean_accuracy=results.accuracy(accuracies.get(pretrained.name, {}), pretrained.side)
            )
            found = located(described, pretrained.repo, pretrained.file, hub, lookup) if pretrained.repo else described
            if isinstance(found, Checkpoint):
                # The location may be stated in two ways (a branch and a commit), but the URL is the same.
                first = name_of_url.setdefault(found.artifacts[0].url, kept.get(pretrained.location, pretrained.name))
                if first != pretrained.name:
                    detail = f"timm's second name for the file of {first}"
                    found = refused(found, found.url, Reason.DUPLICATE, detail)
            yield found

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`."""
        if f"/resolve/{UNPINNED}/" in artifact.url:
            detail = "the commit was not known when the networks were listed; run again with access to the Hub"
            raise Refused(Reason.FETCH_FAILED, detail, artifact.name)
        hub = Hub(self.door)
        if artifact.url.startswith(f"{hub.endpoint}/"):
            return hub.door.open(artifact)
        return open_checked(self.door, artifact) if hash_prefix(artifact.url) else self.door.open(artifact)

    def architectures(self, checkpoint: Checkpoint) -> Iterator[Mapping[str, Operation]]:
        """See `Source.architectures`: timm builds the network, without its weights."""
        from filterzoo.architectures import architecture  # noqa: PLC0415  # loads torch, which only a worker needs

        timm = _timm()
        config = timm.get_pretrained_cfg(checkpoint.id)
        if config is None:
            return
        # Weights of one architecture differ only in their inputs and heads, and mostly not even in these.
        key = f"{config.architecture} {config.input_size} {config.num_classes}"
        if key not in self._known_operations:
            self._known_operations[key] = architecture.operations(
                lambda: timm.create_model(checkpoint.id, pretrained=False), (1, *config.input_size)
            )
        yield self._known_operations[key]

    def _accuracies(self) -> dict[str, dict[int, float]]:
        """Name -> side of the images -> clean accuracy; Refused if the manifest's table cannot be fetched."""
        location = self.options.results
        return results.accuracies(text_at(location, self.door, self.folder, MAX_RESULTS)) if location else {}

    def _wants(self, name: str) -> bool:
        options = self.options
        included = any(fnmatchcase(name, pattern) for pattern in options.include)
        return included and not any(fnmatchcase(name, pattern) for pattern in options.exclude)


@dataclass(frozen=True, slots=True)
class _Pretrained:
    """One `arch.tag` and its PretrainedCfg in timm."""

    name: str
    config: Any

    @property
    def repo(self) -> str:
        """Its repository on the Hub, with `@` and a revision if timm pins it; "" for none."""
        return str(self.config.hf_hub_id or "")

    @property
    def file(self) -> str | None:
        """The file in it, if timm names one."""
        return self.config.hf_hub_filename or None

    @property
    def side(self) -> int:
        """Side of its training images, in pixels."""
        return int(self.config.input_size[-1])

    @property
    def location(self) -> str:
        """A key that is equal for names of the same file."""
        return f"{self.repo} {self.file or ''}"

    def described(self, datasets: Mapping[str, str], categories: Facts, pairs: Facts) -> Checkpoint:
        """The checkpoint at its URL, with facts from the configuration and the tag.

        pairs: the networks that papers compare robust networks with.
        """
        config = self.config
        data = training_data(config.tag or "", datasets)
        kind = categories.get(data.training or "", {})
        url = str(config.url or "")
        pair_id = pairs.get(f"timm/{self.name}", {}).get("pair_id")
        return Checkpoint(
            id=self.name,
            revision=revision(url) or f"timm-{importlib.metadata.version('timm')}",
            artifacts=(Artifact(url=url, name=url.rpartition("/")[2]),),
            url=config.origin_url or url or None,
            licence=config.license if config.license != "unknown" else None,
            architecture=config.architecture,
            task=_task(config.num_classes),
            training_dataset=data.training,
            pretraining_dataset=data.pretraining,
            visual_category=kind.get("visual_category"),
            modality=kind.get("modality"),
            robust=False if pair_id else None,
            pair_id=pair_id,
        )


def _kept(listed: Sequence[_Pretrained]) -> dict[str, str]:
    """Location on the Hub -> the name under which its weights are listed: the repository's own, or else the first."""
    kept: dict[str, str] = {}
    for pretrained in listed:
        if pretrained.repo and (pretrained.location not in kept or pretrained.repo.endswith(f"/{pretrained.name}")):
            kept[pretrained.location] = pretrained.name
    return kept


def _task(num_classes: int) -> str:
    if num_classes == 0:
        return NetworkTask.FEATURE_EXTRACTION
    return NetworkTask.IMAGE_TEXT if num_classes in _EMBEDDINGS else NetworkTask.CLASSIFICATION


def _configurations() -> dict[str, Any]:
    """Every `arch.tag` with pretrained weights, and its PretrainedCfg."""
    timm = _timm()
    return {name: timm.get_pretrained_cfg(name) for name in timm.list_pretrained()}


def _timm() -> Any:
    import timm  # noqa: PLC0415  # loads torch, which commands that list plugins do without

    return timm


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [TimmSource]
