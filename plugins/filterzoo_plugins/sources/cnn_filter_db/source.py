"""CNN Filter DB (Gavrikov & Keuper, CVPR 2022), from a local copy of the release or output of onnxzoo2filterdb."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from filterzoo import (
    Artifact,
    Checkpoint,
    Licence,
    NetworkTask,
    RandomAccessFile,
    Reason,
    Refused,
    Source,
    SourceOptions,
    StartError,
    VisualCategory,
    hookimpl,
)
from filterzoo.files import open_regular
from filterzoo_plugins.sources.cnn_filter_db import SIDE_FILES
from filterzoo_plugins.sources.cnn_filter_db.network_file import (
    NetworkFile,
    ReleasedNetwork,
    network_size,
    read_release,
)
from filterzoo_plugins.sources.files.documents import text_at

MAX_PAIRINGS = 4_000_000


def _licence(stated: str) -> str:
    if Licence.parse(stated).expression is None:
        raise ValueError(f"{stated!r} is not an SPDX licence, such as cc-by-sa-4.0; leave it out if it is unknown")
    return stated


class CnnFilterDbOptions(SourceOptions):
    """`path`: of `dataset.h5`, relative to the manifest. `license`: of networks whose licence its table lacks.

    `pairings`: the authors' `robust_vs_normal_pairings.csv`, a path or an address at a commit: the pairs of robust and
    normal networks that are compared, for `pair_id`.
    """

    path: Annotated[str, Field(min_length=1)]
    license: Annotated[str, AfterValidator(_licence)] | None = None
    pairings: Annotated[str, Field(min_length=1)] | None = None


class CnnFilterDbSource(Source[CnnFilterDbOptions]):
    """Every network of a local `dataset.h5` is a checkpoint; the file's table lists the rows of its layers.

    The id is the table's `model`, the revision the start of the content's sha256, so discovery reads the whole file
    once. The table is read in the jail. Facts outside our vocabularies stay empty.
    """

    name: ClassVar[str] = "cnn_filter_db"
    opens_members: ClassVar[bool] = True

    def discover(self) -> Iterator[Checkpoint]:
        """See `Source.discover`; StartError if the file does not exist."""
        if not self._path.is_file():
            raise StartError(f"cnn_filter_db: {self._path} is not there; give the path of dataset.h5, unpacked")
        networks = self._networks
        revision = f"sha256:{_content(self._path)[:16]}"
        names, pairs = Counter(_name(network) for network in networks), self._pairs()
        for network in networks:
            name = _name(network)
            unique = name if names[name] == 1 else f"{name}#{network.key}"
            yield replace(self._checkpoint(network, unique, revision), pair_id=pairs.get(name))

    def open(self, artifact: Artifact) -> RandomAccessFile:
        """The network's table of layers and its filters."""
        for network in self._networks:
            if network.key == artifact.member and network_size(network) == artifact.size:
                return NetworkFile(self._path, network)
        raise Refused(Reason.CHANGED, "the file was another when its networks were listed", artifact.name)

    def _pairs(self) -> dict[str, str]:
        """Network -> its pair, which is named after the normal network: several robust networks may share it."""
        place = self.options.pairings
        if place is None:
            return {}
        try:
            table = csv.DictReader(text_at(place, self.door, self.folder, MAX_PAIRINGS).splitlines())
            rows = [(row["Robust"].strip(), row["Normal"].strip()) for row in table]
            if not rows:
                raise StartError(f"cnn_filter_db: {place}: no pair in it")
        except (KeyError, AttributeError, csv.Error) as error:
            raise StartError(f"cnn_filter_db: {place}: not a table with the columns Robust and Normal") from error
        except Refused as refusal:
            raise StartError(f"cnn_filter_db: {place}: {refusal.detail}") from refusal
        return dict(rows) | {normal: normal for _, normal in rows}

    @property
    def _path(self) -> Path:
        return self.folder / self.options.path

    @cached_property
    def _networks(self) -> list[ReleasedNetwork]:
        """Read once per process, because the table of the release takes seconds."""
        return read_release(self._path)

    def _checkpoint(self, network: ReleasedNetwork, name: str, revision: str) -> Checkpoint:
        facts = network.stated
        artifact = Artifact(
            url=self._path.name,
            name=self._path.name,
            size=network_size(network),
            member=network.key,
        )
        robust = _truth(facts.get("Robust"))
        clean, attacked = _share(facts.get("Clean Accuracy")), _share(facts.get("Robust Accuracy"))
        training = _text(facts.get("Training-Dataset"))
        if attacked == 0 and robust is False and (training or "").startswith("imagenet"):
            attacked = None  # not measured: the robust networks' table has 0 for normal networks on ImageNet
        pretraining = _text(facts.get("Pretraining-Dataset"))
        url = _text(facts.get("Accessible"))
        return Checkpoint(
            id=name,
            revision=revision,
            artifacts=(artifact,),
            url=url if url and url.startswith(("https://", "http://")) else None,
            licence=_text(facts.get("Licence")) or self.options.license,
            architecture=_text(facts.get("Backbone")) or _text(facts.get("model")),
            task=_task(facts.get("Task")),
            training_dataset=training,
            pretraining_dataset=None if pretraining in {"True", "False"} else pretraining,
            visual_category=_word(VisualCategory, facts.get("Visual Category") or facts.get("Datatype")),
            robust=robust,
            clean_accuracy=clean,
            robust_accuracy=attacked,
        )


def _name(network: ReleasedNetwork) -> str:
    return _text(network.stated.get("model")) or f"model-{network.key}"


def _text(cell: object) -> str | None:
    return cell.strip() or None if isinstance(cell, str) else None


def _task(cell: object) -> str | None:
    """The task; the release has several kinds of segmentation, which its authors' notebooks count as one."""
    is_segmentation = "segmentation" in (_text(cell) or "").lower()
    return NetworkTask.SEGMENTATION.value if is_segmentation else _word(NetworkTask, cell)


def _word(vocabulary: type[StrEnum], cell: object) -> str | None:
    """`Object Detection` -> `object-detection`, `medical X-ray` -> `medical-xray`, if that is in the vocabulary."""
    words = {_letters(known.value): known.value for known in vocabulary}
    text = (_text(cell) or "").lower()
    return words.get(_letters(_FORMER.get(text, text)))


_FORMER = {"formula": VisualCategory.FRACTALS.value}
"""Words of the first version (arXiv:2201.08465) that the release renamed."""


def _letters(word: str) -> str:
    return "".join(char for char in word.lower() if char.isalnum())


def _truth(cell: object) -> bool | None:
    if isinstance(cell, str):
        return {"true": True, "false": False}.get(cell.lower())
    return bool(cell) if cell in {0, 1} else None


def _share(cell: object) -> float | None:
    """Per cent -> [0, 1]; tables in CSV files contain texts."""
    try:
        percent = float(cell) if isinstance(cell, (str, int, float)) else -1.0
    except ValueError:
        return None
    return round(percent / 100, 12) if 0 <= percent <= 100 else None


def _content(path: Path) -> str:
    """sha256, hex, of the file, and of the tables in side files if the file contains no table."""
    digest = hashlib.sha256()
    for name in (path.name, *SIDE_FILES):
        part = path.with_name(name)
        if part == path or part.is_file():
            with open_regular(part) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [CnnFilterDbSource]
