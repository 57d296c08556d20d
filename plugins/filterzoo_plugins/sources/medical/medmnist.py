"""The networks of MedMNIST v2 (doi:10.1038/s41597-022-01721-8), in zip archives of one Zenodo record."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from filterzoo import Artifact, Checkpoint, Refusal
from filterzoo_plugins.sources.medical._repository import MedicalRepository

RECORD = "7782113"
_ARCHIVE = re.compile(r"weights_([a-z0-9]+)\.zip")
_NETWORK = re.compile(r"(^|[/_-])(resnet(?:18|50))(?=[/_.-])", re.IGNORECASE)


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint | Refusal]:
    """Every `.pth` in every `weights_FLAG.zip`; the archives also hold Keras and AutoML files of other kinds."""
    record = repository.door.get_json(f"{repository.zenodo}/api/records/{RECORD}")
    licence = _licence(record)
    files = record.get("files") if isinstance(record, dict) else None
    for entry in files if isinstance(files, list) else []:
        match entry:
            case {"key": str(file)} if match_ := _ARCHIVE.fullmatch(file):
                yield from _archive(repository, file, match_[1], licence)


def _archive(
    repository: MedicalRepository, file: str, flag: str, licence: str | None
) -> Iterator[Checkpoint | Refusal]:
    url = f"{repository.zenodo}/records/{RECORD}/files/{file}?download=1"
    revision, page = f"zenodo:{RECORD}", f"https://zenodo.org/records/{RECORD}"
    for found in repository.zipped(url, flag, revision):
        if isinstance(found, Refusal):
            yield found
        elif found.lower().endswith(".pth"):
            artifact = Artifact(url=url, name=found.rpartition("/")[2], member=found)
            network = _NETWORK.search(found)
            columns = repository.facts(flag) | {"licence": licence, "training_dataset": flag}
            columns["architecture"] = network[2].lower() if network else None
            yield repository.checkpoint(
                f"{flag}/{found.removesuffix('.pth')}", revision, [artifact], url=page, **columns
            )


def _licence(record: Any) -> str | None:
    """The licence in the record: `{"metadata": {"license": {"id": "cc-by-4.0"}}}`."""
    match record:
        case {"metadata": {"license": {"id": str(licence)}}}:
            return licence
    return None
