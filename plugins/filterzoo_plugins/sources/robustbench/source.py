"""RobustBench's zoo (arXiv:2010.09670): networks trained to withstand attacks or corruptions, and normal ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator

from filterzoo import (
    Artifact,
    Checkpoint,
    Modality,
    NetworkTask,
    Operation,
    RandomAccessFile,
    Reason,
    Refusal,
    Refused,
    Source,
    SourceOptions,
    VisualCategory,
    hookimpl,
    is_http,
)
from filterzoo.licensing.statements import LicenceOrigin, Statement, governing
from filterzoo_plugins import facts as curated
from filterzoo_plugins.sources.files.documents import bytes_at, text_at
from filterzoo_plugins.sources.files.drive import HOST as DRIVE
from filterzoo_plugins.sources.files.drive import download_address
from filterzoo_plugins.sources.files.hash_prefix import hash_prefix, open_checked
from filterzoo_plugins.sources.libraries.architectures import Architectures
from filterzoo_plugins.sources.libraries.originals import of_timm
from filterzoo_plugins.sources.packages.data import PackageData
from filterzoo_plugins.sources.packages.index import pinned, web_address
from filterzoo_plugins.sources.robustbench import robust_pairs
from filterzoo_plugins.sources.robustbench.licences import FILE as LICENCE_FILE
from filterzoo_plugins.sources.robustbench.licences import Licences, licences
from filterzoo_plugins.sources.robustbench.robust_pairs import Pair, paired
from filterzoo_plugins.sources.robustbench.tables import ADDRESSES, TABLES, LeaderboardEntry, entries

if TYPE_CHECKING:
    from filterzoo import Door

_TRAINING = {"cifar10": "cifar-10", "cifar100": "cifar-100", "imagenet": "imagenet-1k"}
_PAGE = "https://github.com/RobustBench/robustbench/blob/master/model_info"
MAX_INFO = 1_000_000


class RobustBenchOptions(SourceOptions):
    """`include`, `exclude`: globs over `dataset/threat model/name`. `path`: the local package.

    `model_info`: the repository's folder of that name, a local path or a URL at a commit, which costs a request for
    each entry. Paths are relative to the manifest.
    `normals_meta`: the paper's `meta.csv`, a path or a URL at a commit: clean accuracies of those networks. `normals`:
    the package with the pairs of the papers; null omits the networks that were trained for them, whose names are
    `dataset/normal/name`. `zenodo`: another URL of Zenodo.
    """

    package: Annotated[str, AfterValidator(pinned)] = "robustbench==1.1.1"
    path: Path | None = None
    index_url: Annotated[str | None, AfterValidator(web_address)] = None
    normals: Annotated[str, AfterValidator(pinned)] | None = robust_pairs.PACKAGE
    zenodo: Annotated[str, AfterValidator(web_address)] = "https://zenodo.org"
    model_info: str | None = None
    normals_meta: str | None = None
    datasets: tuple[Literal["cifar10", "cifar100", "imagenet"], ...] = ("cifar10", "cifar100", "imagenet")
    threat_models: tuple[Literal["Linf", "L2", "corruptions"], ...] = ("Linf", "L2", "corruptions")
    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()


class RobustBenchSource(Source[RobustBenchOptions]):
    """Every entry of the zoo; each network of an ensemble is a checkpoint with an id ending in `#m0`, `#m1`, ...

    The normally trained networks that papers compare them with are listed too (`robust_pairs`).

    The tables are read from the package's code as data. The zoo pins no revision and states no hash: the revision is
    the Drive id or the file's name in its release. The package's licence file states the licences of the weights.
    Accuracies, eps and architectures are in the repository, not in the package: null unless `model_info` locates it.
    """

    name: ClassVar[str] = "robustbench"

    def __init__(self, options: RobustBenchOptions, door: Door, folder: Path) -> None:
        super().__init__(options, door, folder)
        self._architectures = Architectures()

    def discover(self) -> Iterator[Checkpoint | Refusal]:
        """See `Source.discover`; the package is downloaded, a quarter of a megabyte."""
        options = self.options
        path = self.folder / options.path if options.path else None
        package = PackageData(options.package, self.door, options.index_url, path)
        listed = list(entries(package.texts([*TABLES.values(), *ADDRESSES])))
        stated, pairs = _licences(package), self._pairs()
        twins = paired(listed, pairs)
        for entry in listed:
            if self._is_wanted(entry):
                try:
                    yield from self._checkpoints(entry, twins.get(entry.id), stated, package.version)
                except Refused as refusal:
                    detail = f"what is said of it cannot be had: {refusal.detail}"
                    yield Refusal(id=entry.id, revision=package.version, reason=refusal.reason, detail=detail)
        if "Linf" in options.threat_models:
            yield from self._normal_networks(pairs)

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """See `Source.open`; a file with digits of its hash in its name is downloaded completely and checked.

        A file on Google Drive is downloaded completely too, once for all entries that name it.
        """
        if hash_prefix(artifact.url):
            return open_checked(self.door, artifact)
        if artifact.url.startswith(f"{DRIVE}/"):
            self.door.download(artifact.url)
        return super().open(artifact)

    def architectures(self, checkpoint: Checkpoint) -> Iterator[Mapping[str, Operation]]:
        """See `Source.architectures`: timm's or torchvision's, if the zoo builds the network with one of them."""
        return self._architectures.of(checkpoint.architecture)

    def _pairs(self) -> list[Pair]:
        """The papers' pairs for the chosen data sets."""
        options = self.options
        if options.normals is None:
            return []
        package = PackageData(options.normals, self.door, options.index_url)
        found = robust_pairs.pairs(package.texts([robust_pairs.TABLE])[robust_pairs.TABLE])
        return [pair for pair in found if pair.dataset in options.datasets]

    def _normal_networks(self, pairs: list[Pair]) -> Iterator[Checkpoint | Refusal]:
        own = [pair for pair in pairs if self._is_named(f"{pair.dataset}/normal/{pair.normal}")]
        try:
            accuracies = self._accuracies() if own else {}
        except Refused as refusal:
            detail = f"the accuracies of the normal networks cannot be had: {refusal.detail}"
            yield Refusal(id="normal", revision="meta.csv", reason=refusal.reason, detail=detail)
            return
        for found in robust_pairs.normal_networks(own, self.door, self.options.zenodo):
            if isinstance(found, Refusal):
                yield found
            else:
                dataset, _, name = found.id.partition("/normal/")
                yield replace(found, **_facts_of(dataset), clean_accuracy=accuracies.get((dataset, name)))

    def _accuracies(self) -> dict[tuple[str, str], float]:
        """(data set, network) -> clean accuracy, from the paper's table; Refused if the table is not available."""
        place = self.options.normals_meta
        if place is None:
            return {}
        return robust_pairs.clean_accuracies(text_at(place, self.door, self.folder, MAX_INFO), _share)

    def _is_wanted(self, entry: LeaderboardEntry) -> bool:
        options = self.options
        is_chosen = entry.dataset in options.datasets and entry.threat_model in options.threat_models
        return is_chosen and self._is_named(entry.id)

    def _is_named(self, identity: str) -> bool:
        options = self.options
        return any(fnmatchcase(identity, pattern) for pattern in options.include) and not any(
            fnmatchcase(identity, pattern) for pattern in options.exclude
        )

    def _checkpoints(
        self, entry: LeaderboardEntry, pair_id: str | None, stated: Licences | None, version: str
    ) -> Iterator[Checkpoint | Refusal]:
        facts: dict[str, Any] = {**self._facts(entry), "pair_id": pair_id, **_licence_of(entry, stated)}
        if entry.address is not None:
            file = entry.address.rpartition("/")[2]
            yield Checkpoint(id=entry.id, revision=file, artifacts=(Artifact(url=entry.address, name=file),), **facts)
            return
        if not entry.drive_ids:
            detail = "the package names no file of it"
            yield Refusal(id=entry.id, revision=version, reason=Reason.REMOVED, detail=detail, url=facts["url"])
        for number, drive_id in enumerate(entry.drive_ids):
            place = f"#m{number}" if len(entry.drive_ids) > 1 else ""
            artifact = Artifact(url=download_address(drive_id), name=f"{entry.name}{place.replace('#', '_')}.pt")
            own = facts | _of_member(entry, number) if place else facts
            yield Checkpoint(id=entry.id + place, revision=f"gdrive:{drive_id}", artifacts=(artifact,), **own)

    def _facts(self, entry: LeaderboardEntry) -> dict[str, Any]:
        """The columns that follow from the entry's table in the zoo, and those that `model_info` states."""
        is_adversarial = entry.threat_model != "corruptions"
        return (
            _facts_of(entry.dataset)
            | {
                "url": f"{_PAGE}/{entry.id}.json",
                # Training against corruptions is not training against attacks, but some of these networks had both.
                "robust": False if entry.normal else (True if is_adversarial else None),
                # For a normal network, the attack under which its robust accuracy was measured.
                "threat_model": entry.threat_model,
            }
            | self._stated(entry, is_adversarial=is_adversarial)
        )

    def _stated(self, entry: LeaderboardEntry, *, is_adversarial: bool) -> dict[str, Any]:
        """Architecture, eps and accuracies, from the repository's JSON; an ensemble's do not describe one network."""
        if len(entry.drive_ids) > 1:
            return {}
        info = self._info(f"{entry.id}.json")
        robust = info.get("external", info.get("autoattack_acc")) if is_adversarial else info.get("corruptions_acc")
        named = entry.library_name or info.get("architecture")
        return {
            "architecture": named if isinstance(named, str) and named else None,
            "eps": _eps(info.get("eps")) if is_adversarial else None,
            "clean_accuracy": _share(info.get("clean_acc")),
            "robust_accuracy": _share(robust),
        }

    def _info(self, name: str) -> dict[str, Any]:
        """The JSON object; empty if there is none, so that its columns stay null. Refused if the network fails."""
        place = self.options.model_info
        if place is None:
            return {}
        try:
            if is_http(place):
                content = bytes_at(f"{place.rstrip('/')}/{name}", self.door.trusting(place), MAX_INFO)
            else:
                content = _small_file(self.folder / place / name)
            info = json.loads(content)
        except Refused as refusal:
            if refusal.reason.is_transient:
                raise
            return {}
        except (OSError, ValueError, RecursionError):
            return {}
        return info if isinstance(info, dict) else {}


def _facts_of(dataset: str) -> dict[str, Any]:
    return {
        "task": NetworkTask.CLASSIFICATION.value,
        "training_dataset": _TRAINING[dataset],
        "visual_category": VisualCategory.NATURAL.value,
        "modality": Modality.RGB.value,
    }


def _licences(package: PackageData) -> Licences | None:
    """The licences of weights in the package's licence file; None if it cannot be parsed."""
    try:
        return licences(package.texts([LICENCE_FILE])[LICENCE_FILE])
    except Refused as refusal:
        if refusal.reason.is_transient:
            raise
        return None


def _licence_of(entry: LeaderboardEntry, stated: Licences | None) -> dict[str, str | None]:
    """The stricter of RobustBench's licence and, for weights that it only loads, their original zoo's."""
    own = stated.of(entry.dataset, entry.threat_model, entry.name) if stated else None
    found = of_timm(entry.loaded_from_timm) if entry.loaded_from_timm else None
    original = found.licence if found else None
    licence, licence_from = governing(
        Statement(own, LicenceOrigin.LICENCE_FILE) if own else None,
        Statement(original, LicenceOrigin.ORIGINAL) if original else None,
    )
    return {"licence": licence, "licence_from": licence_from}


def _of_member(entry: LeaderboardEntry, number: int) -> dict[str, Any]:
    """Facts about one network of an ensemble: robustness of the ensemble does not imply that of its members."""
    name = f"{entry.id}#m{number}"
    known = curated.rows("robustbench_members")
    row = next((row for row in known if fnmatchcase(name, row["name"] or "")), None)
    robust = {"true": True, "false": False}.get(row["robust"] or "") if row else None
    if entry.threat_model == "corruptions" and row is None:
        return {}
    return {"robust": robust} if robust else {"robust": robust, "threat_model": None, "pair_id": None}


def _small_file(path: Path) -> bytes:
    """A file's bytes; empty if it is larger than the limit."""
    return path.read_bytes() if path.stat().st_size <= MAX_INFO else b""


def _share(percent: Any) -> float | None:
    """`"89.69"` as 0.8969; None if it is not a percentage. Most files have strings, some have numbers."""
    try:
        value = float(percent) / 100
    except (TypeError, ValueError):
        return None
    return round(value, 6) if 0 <= value <= 1 else None


def _eps(stated: Any) -> float | None:
    """`"8/255"`, `"0.031"` or 0.5 as a number; None if it is not the size of an attack."""
    part, _, whole = str(stated).partition("/")
    try:
        value = float(part) / float(whole or 1)
    except (ValueError, ZeroDivisionError):
        return None
    return value if value > 0 and isfinite(value) else None


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [RobustBenchSource]
