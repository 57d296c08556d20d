"""Networks on the Hugging Face Hub: named repositories, those of named authors, or the results of a listing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import product, takewhile
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, model_validator

from filterzoo import (
    Artifact,
    Checkpoint,
    Operation,
    RandomAccessFile,
    Reason,
    Refusal,
    Refused,
    Source,
    SourceOptions,
    hookimpl,
)
from filterzoo_plugins.sources.files.weight_files import passed_over
from filterzoo_plugins.sources.hub import api, licences
from filterzoo_plugins.sources.hub.api import Hub
from filterzoo_plugins.sources.hub.weights import Weights, left_out, sets_of_weights
from filterzoo_plugins.sources.libraries.architectures import Architectures
from filterzoo_plugins.sources.own_files.facts_table import read_table

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

    from filterzoo import Door

MAX_CONFIG = 16_000_000
_WHY = "look like weights, and are parts without an index that is read, or of a kind that is not listed"
_SHA256 = re.compile("[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
Repo = Annotated[str, Field(pattern=r"^[\w.-]+(/[\w.-]+)?(@[^@\s]+)?$", examples=["user/name", "user/name@v1"])]


_COUNT = re.compile(r"(?P<bound>min|max):(?P<count>[0-9]+(\.[0-9]+)?)(?P<unit>[KMBT]?)")
_UNITS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def _counts(text: str) -> tuple[float, float]:
    """(least, most) of `min:1M,max:2B`; ValueError for another form."""
    bounds = {"min": 0.0, "max": inf}
    for part in text.split(","):
        match = _COUNT.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"{text!r} is no number of parameters; write min:1M, max:2B or min:1M,max:2B")
        bounds[match["bound"]] = float(match["count"]) * _UNITS[match["unit"]]
    return bounds["min"], bounds["max"]


def _checked_counts(text: str | None) -> str | None:
    if text is not None:
        _counts(text)
    return text


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


class HfHubOptions(SourceOptions):
    """What to crawl: `repos` by name (`user/name` or `user/name@revision`), and the results of listings.

    There is a listing for each combination of `authors`, `tasks` and `libraries`; `filters` (all must hold), `search`
    and `num_parameters` restrict each, as in `HfApi.list_models`. The Hub counts only the parameters of safetensors
    files: repositories without any are kept, subject to the manifest's limits. `modified_since`, a day or a time in
    UTC: listings start with the newest and end at the first repository that has not changed since, so that a scheduled
    crawl sees only new ones. `sizes` requests the sizes and hashes of files from each repository, which a listing does
    not state.
    `facts`: a table of facts, CSV or YAML; its keys are ids or globs, its columns those of `models`.
    """

    repos: tuple[Repo, ...] = ()
    authors: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()
    search: str | None = None
    num_parameters: Annotated[str | None, Field(examples=["min:1M,max:500M"]), AfterValidator(_checked_counts)] = None
    min_downloads: Annotated[int, Field(ge=0)] = 0
    modified_since: Annotated[datetime | None, Field(examples=["2026-11-01"]), AfterValidator(_in_utc)] = None
    sizes: bool = False
    facts: str | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> HfHubOptions:
        if not (self.repos or self.authors or self.tasks or self.libraries or self.filters or self.search):
            raise ValueError("name repos, authors, tasks, libraries, filters or a search: the Hub holds millions")
        return self


class HfHubSource(Source[HfHubOptions]):
    """Every set of weights in the named or found repositories is a checkpoint, at the current commit.

    The id is the repository's, with the path if it holds several sets of weights; the revision is the commit.
    Repositories that are gated, gone or without weights go to the ledger. HF_ENDPOINT and HF_TOKEN are honoured.
    """

    name: ClassVar[str] = "hf_hub"

    def __init__(self, options: HfHubOptions, door: Door, folder: Path) -> None:
        super().__init__(options, door, folder)
        self._architectures = Architectures()
        self._last_config: tuple[str, Mapping[str, Any]] = ("", {})

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; Refused if a listing fails."""
        facts = read_table(self.options.facts, self.folder)
        for found in self._found():
            yield facts.with_facts(found) if isinstance(found, Checkpoint) else found

    def _found(self) -> Iterator[Checkpoint | Refusal]:
        hub = Hub(self.door)
        for named in dict.fromkeys(self.options.repos):
            repo, _, revision = named.partition("@")
            yield from _requested(hub, repo, revision or None)
        for query in self._queries():
            listed = hub.listing(f"the listing {query}", **query)
            for info in takewhile(self._is_new, listed):
                if (info.downloads or 0) >= self.options.min_downloads and self._has_counts(info):
                    yield from self._listed(hub, info)

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`; the token is sent to the Hub only."""
        return Hub(self.door).door.open(artifact)

    def architectures(self, checkpoint: Checkpoint) -> Iterator[Mapping[str, Operation]]:
        """See `Source.architectures`: timm's or torchvision's, by the name on the Hub or in `config.json`.

        The file is fetched if the Hub names no network, and for the numbers of classes and channels.
        """
        name = checkpoint.architecture
        if name is not None and not self._architectures.is_known(name):
            return
        config = self._config(checkpoint)
        classes, channels = _classes_and_channels(config)
        yield from self._architectures.of(name or api.named_architecture(config), classes, (channels,))

    def architecture_name(self, checkpoint: Checkpoint) -> str | None:
        """See `Source.architecture_name`: the name in the `config.json` of the weights' folder."""
        return api.named_architecture(self._config(checkpoint))

    def _config(self, checkpoint: Checkpoint) -> Mapping[str, Any]:
        """The `config.json` in the folder of the weights; fetched once for both methods above."""
        address = f"{checkpoint.artifacts[0].url.rpartition('/')[0]}/config.json"
        if self._last_config[0] != address:
            self._last_config = (address, _config(Hub(self.door), address))
        return self._last_config[1]

    def _queries(self) -> Iterator[dict[str, Any]]:
        options = self.options
        if not (options.authors or options.tasks or options.libraries or options.filters or options.search):
            return
        order = "downloads" if options.modified_since is None else "lastModified"
        shared = {"search": options.search, "sort": order, "direction": "-1"}
        for author, task, library in product(
            options.authors or (None,), options.tasks or (None,), options.libraries or (None,)
        ):
            tags = [*options.filters, *([library] if library else [])]
            query = {"author": author, "pipeline_tag": task, "filter": tags or None, **shared}
            yield {key: value for key, value in query.items() if value is not None}

    def _is_new(self, info: ModelInfo) -> bool:
        """Whether it changed since `modified_since`; a repository without a stated time counts as new."""
        since, changed = self.options.modified_since, info.last_modified
        return since is None or changed is None or changed >= since

    def _has_counts(self, info: ModelInfo) -> bool:
        """Whether its number of parameters is within the bounds, as far as the Hub knows."""
        if self.options.num_parameters is None or info.safetensors is None:
            return True
        # The total may come from a repository's own metadata, which may be wrong (huggingface_hub issue 4221).
        total = max(info.safetensors.total or 0, sum((info.safetensors.parameters or {}).values()))
        least, most = _counts(self.options.num_parameters)
        return least <= total <= most

    def _listed(self, hub: Hub, info: ModelInfo) -> Iterator[Checkpoint | Refusal]:
        if self.options.sizes and not api.is_closed(info, hub.token):
            yield from _requested(hub, info.id, info.sha)
        else:
            yield from Repository(hub, info).checkpoints()


def _requested(hub: Hub, repo: str, revision: str | None) -> Iterator[Checkpoint | Refusal]:
    """The checkpoints of one repository; an error of the Hub becomes a refusal of this repository only."""
    try:
        info = hub.repository(repo, revision)
    except Refused as refusal:
        yield Refusal(
            id=repo, revision=revision or "main", reason=refusal.reason, detail=refusal.detail, url=hub.page(repo)
        )
    else:
        yield from Repository(hub, info).checkpoints()


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository with the Hub's description."""

    hub: Hub
    info: ModelInfo

    def checkpoints(self) -> Iterator[Checkpoint | Refusal]:
        """One checkpoint for each set of weights, or a refusal."""
        info = self.info
        files = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        if not _COMMIT.fullmatch(info.sha or ""):
            yield self._refusal(Reason.FETCH_FAILED, "the Hub names no commit")
        elif info.disabled:
            yield self._refusal(Reason.REMOVED, "the Hub has disabled it")
        elif api.is_closed(info, self.hub.token):
            yield self._refusal(
                Reason.GATED, "the Hub asks for an agreement first, and there is no token of one who gave it"
            )
        else:
            yield from self._sets(files)

    def _sets(self, files: dict[str, RepoSibling]) -> Iterator[Checkpoint | Refusal]:
        found = sets_of_weights(files)
        others = left_out(files, found)
        if not found and not others:
            yield self._refusal(Reason.UNKNOWN_FORMAT, "no file in it has a name that weights have")
        for weights in found:
            try:
                yield self._checkpoint(weights, files)
            except Refused as refusal:
                yield replace(self._refusal(refusal.reason, refusal.detail), id=self._identity(weights))
        if others:
            entry = passed_over(self.info.id, self.info.sha or "", others, _WHY)
            yield replace(self._refusal(entry.reason, entry.detail), id=entry.id if found else self.info.id)

    def _checkpoint(self, weights: Weights, files: dict[str, RepoSibling]) -> Checkpoint:
        info, revision = self.info, self.info.sha or ""
        licence, licence_from = licences.stated(self.hub, info, weights.files[0])
        return Checkpoint(
            id=self._identity(weights),
            revision=revision,
            artifacts=tuple(artifact(self.hub, info.id, revision, files[path]) for path in weights.files),
            url=self.hub.page(info.id, revision),
            licence=licence,
            licence_from=licence_from,
            architecture=api.architecture(info),
            task=api.task(info),
            training_dataset=api.datasets(info),
            base_model=api.base_model(info),
            tags=api.tags(info),
        )

    def _identity(self, weights: Weights) -> str:
        return f"{self.info.id}/{weights.name}" if weights.name else self.info.id

    def _refusal(self, reason: Reason, detail: str) -> Refusal:
        info = self.info
        return Refusal(
            id=info.id,
            revision=info.sha or "main",
            reason=reason,
            detail=detail,
            url=self.hub.page(info.id),
            licence=api.licence(info),
        )


def artifact(hub: Hub, repo: str, revision: str, file: RepoSibling) -> Artifact:
    """A file at a commit, with the size and hash that the Hub states; Refused if they are invalid."""
    size: object = file.size
    sha256: object = file.lfs.sha256 if file.lfs else None
    is_size = size is None or (isinstance(size, int) and size >= 0)
    if not is_size or not (sha256 is None or (isinstance(sha256, str) and _SHA256.fullmatch(sha256))):
        raise Refused(Reason.FETCH_FAILED, "the Hub states a size or a hash that cannot be one", file.rfilename[:200])
    return Artifact(
        url=hub.address(repo, revision, file.rfilename),
        name=file.rfilename.rpartition("/")[2],
        size=file.size,
        sha256=file.lfs.sha256 if file.lfs else None,
    )


def _config(hub: Hub, address: str) -> Mapping[str, Any]:
    """A `config.json` as plain data; empty if there is no readable one. Refused if the network fails."""
    try:
        document = json.loads(hub.door.get_bytes(address, limit=MAX_CONFIG))
    except Refused as refusal:
        if refusal.reason.is_transient:
            raise
        return {}
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _classes_and_channels(config: Mapping[str, Any]) -> tuple[int | None, int]:
    """From timm's configuration; None, and three channels, if they are not stated."""
    classes = config.get("num_classes")
    match config.get("pretrained_cfg") or config:
        case {"input_size": [int(channels), *_]}:
            pass
        case _:
            channels = 3
    return classes if isinstance(classes, int) else None, channels


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [HfHubSource]
