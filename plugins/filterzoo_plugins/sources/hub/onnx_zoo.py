"""The ONNX Model Zoo on the Hub, its location since its git-LFS repository was frozen in July 2025."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from filterzoo import (
    Artifact,
    Checkpoint,
    RandomAccessFile,
    Refusal,
    Refused,
    Source,
    SourceOptions,
    StartError,
    hookimpl,
)
from filterzoo.files import open_regular
from filterzoo.licensing.statements import LicenceOrigin, Statement, governing
from filterzoo_plugins import facts
from filterzoo_plugins.sources.hub.api import Hub
from filterzoo_plugins.sources.hub.hf_hub import Repository
from filterzoo_plugins.sources.libraries.originals import of_timm, of_torchvision

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

ORGANISATION = "onnxmodelzoo"
MIRROR = f"{ORGANISATION}/legacy_models"
"""A repository with a copy of every file of the git repository."""
MANIFEST_BYTES = 8_000_000

_OPSET = re.compile(r"[_-]opset[_-]?([0-9]{1,2})(?=$|_)", re.IGNORECASE)


class OnnxZooOptions(SourceOptions):
    """`manifest`: ONNX_HUB_MANIFEST.json of the zoo's git repository, a path or a URL: tasks and names.

    `include`, `exclude`: globs over repositories' names. `all_opsets`: every export, not only the latest.
    """

    organisation: str = ORGANISATION
    manifest: str | None = None
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = (MIRROR,)
    all_opsets: bool = False


class OnnxZooSource(Source[OnnxZooOptions]):
    """Every repository of the organisation, in one paged listing, at its current commit.

    Most networks are exported once per opset (`resnet18_Opset16`, `_Opset17`, `_Opset18`), with the same weights: the
    latest is taken. Most were exported by scripts that do not train and load pretrained weights only by an option,
    which is not recorded: `filterzoo.measures.random_weights.suspected_random` detects those that look untrained.
    """

    name: ClassVar[str] = "onnx_zoo"

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; Refused if the listing fails."""
        hub = Hub(self.door)
        manifest = self._manifest()
        listed = hub.listing(f"the models of {self.options.organisation}", author=self.options.organisation)
        wanted = (info for info in listed if self._is_wanted(info.id))
        for info in wanted if self.options.all_opsets else _latest(wanted):
            for found in Repository(hub, info).checkpoints():
                yield found if isinstance(found, Refusal) else _described(found, manifest)

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`; the token is sent to the Hub only."""
        return Hub(self.door).door.open(artifact)

    def _is_wanted(self, repo: str) -> bool:
        names = (repo, repo.rpartition("/")[2])
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.options.include) and not any(
            fnmatchcase(name, pattern) for name in names for pattern in self.options.exclude
        )

    def _manifest(self) -> Mapping[str, Described]:
        """File name -> its entry in the manifest. StartError if the manifest does not exist."""
        place = self.options.manifest
        if place is None:
            return {}
        try:
            if urlsplit(place).scheme in {"http", "https"}:
                content = self.door.trusting(place).get_bytes(place, limit=MANIFEST_BYTES)
            else:
                with open_regular(self.folder / place) as file:
                    content = file.read(MANIFEST_BYTES)  # a longer one is cut and no longer valid JSON
            entries = json.loads(content)
            return {entry.file: entry for entry in map(_entry, entries) if entry is not None}
        except (OSError, ValueError, TypeError, RecursionError, Refused) as error:
            raise StartError(f"onnx_zoo: cannot read the manifest {place}: {error}") from error


@dataclass(frozen=True, slots=True)
class Described:
    """The git manifest's entry for one file. tags: coarse to fine: `vision`, `classification`, `resnet`."""

    file: str
    model: str
    tags: tuple[str, ...]

    @property
    def task(self) -> str | None:
        """The task by the finest tag that names one."""
        return _task_of_tags(self.tags)


def _entry(entry: Any) -> Described | None:
    """An entry of the manifest; None for an invalid one."""
    match entry:
        case {"model": str(model), "model_path": str(path), "metadata": {"tags": [*tags]}}:
            return Described(path.rpartition("/")[2], model, tuple(str(tag).lower() for tag in tags))
        case _:
            return None


def _latest(listed: Iterator[ModelInfo]) -> list[ModelInfo]:
    """Of repositories that differ only in the opset, the one with the highest; the order is kept."""
    best: dict[str, tuple[int, ModelInfo]] = {}
    for info in listed:
        match = _OPSET.search(info.id)
        key, opset = (_OPSET.sub("", info.id, count=1), int(match[1])) if match else (info.id, 0)
        if key not in best or best[key][0] < opset:
            best[key] = (opset, info)
    return [info for _, info in best.values()]


def _task_of_tags(tags: Iterable[str]) -> str | None:
    known = facts.table("onnx_tags")
    words = [tag.strip().lower().replace("_", " ") for tag in tags]
    return next((known[word]["task"] for word in reversed(words) if word in known), None)


def _described(checkpoint: Checkpoint, manifest: Mapping[str, Described]) -> Checkpoint:
    """The checkpoint with task and network name from the manifest, or else from the export's name and tags."""
    entry = manifest.get(checkpoint.artifacts[0].name)
    task = checkpoint.task or _task_of_tags((checkpoint.tags or "").split(","))
    if entry is not None:
        return replace(checkpoint, task=entry.task or task, architecture=entry.model)
    exported = checkpoint.id.rpartition("/")[2]
    match = _OPSET.search(exported)
    if match is None:
        return replace(checkpoint, task=task)
    named = replace(checkpoint, task=task, architecture=exported[: match.start()])
    return _of_original(named, exported[: match.start()])


def _of_original(checkpoint: Checkpoint, name: str) -> Checkpoint:
    """The checkpoint with the task of the exported network, under the stricter of its licence and the zoo's.

    The card of the whole zoo does not change the licence of the original network.
    """
    original = of_timm(name) or of_torchvision(name)
    if original is None:
        return checkpoint
    licence, licence_from = governing(
        Statement(checkpoint.licence, LicenceOrigin.ZOO) if checkpoint.licence else None,
        Statement(original.licence, LicenceOrigin.ORIGINAL) if original.licence else None,
    )
    return replace(checkpoint, task=checkpoint.task or original.task, licence=licence, licence_from=licence_from)


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [OnnxZooSource]
