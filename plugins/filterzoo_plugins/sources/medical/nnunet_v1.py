"""The pretrained networks of nnU-Net 1 (doi:10.1038/s41592-020-01008-z), in zip archives on Zenodo."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from filterzoo import Artifact, Checkpoint, Refusal
from filterzoo_plugins.sources.medical._repository import MedicalRepository
from filterzoo_plugins.sources.packages.python_tables import assigned, items, literal, parse

FILE = "nnunet/inference/pretrained_models/download_pretrained_model.py"
_MODEL = "model_final_checkpoint.model"


def checkpoints(repository: MedicalRepository) -> Iterator[Checkpoint | Refusal]:
    """Every network in every archive: a task was trained in up to four configurations, each on several folds."""
    tree = parse(repository.tables.texts([FILE])[FILE], FILE)
    for task, entry in items(assigned(tree, "available_models", FILE)):
        urls = (literal(entry) or {}).get("url")
        for url in [urls] if isinstance(urls, str) else urls or []:
            if isinstance(task, str) and isinstance(url, str) and (place := _record_and_file(url)):
                yield from _archive(repository, task, url, place)


def _archive(
    repository: MedicalRepository, task: str, url: str, place: tuple[str, str]
) -> Iterator[Checkpoint | Refusal]:
    record, file = place
    revision, name = f"zenodo:{record}", f"{task}/{file.removesuffix('.zip')}"
    page = f"https://zenodo.org/records/{record}"
    members = []
    for found in repository.zipped(_mirrored(repository, url), name, revision):
        if isinstance(found, Refusal):
            yield found
        elif found.endswith(f"/{_MODEL}"):
            members.append(found)
    for member in members if repository.all_folds else _first_folds(members):
        artifact = Artifact(url=_mirrored(repository, url), name=_MODEL, member=member)
        inside = member.removesuffix(f"/{_MODEL}")
        yield repository.checkpoint(f"{name}/{inside}", revision, [artifact], url=page, **repository.facts(task))


def _first_folds(members: Iterable[str]) -> list[str]:
    """One member for each folder of folds: `.../fold_0/...` is preferred to the others, and these to `.../all/...`."""
    chosen: dict[str, str] = {}
    for member in sorted(members, key=lambda name: ("/all/" in name, name)):
        chosen.setdefault(member.rsplit("/", maxsplit=2)[0], member)
    return sorted(chosen.values())


def _record_and_file(url: str) -> tuple[str, str] | None:
    """(record, file) of `https://zenodo.org/record/4003545/files/Task002_Heart.zip?download=1`."""
    match urlsplit(url).path.split("/"):
        case ["", "record" | "records", record, "files", file] if urlsplit(url).hostname == "zenodo.org":
            return record, file
    return None


def _mirrored(repository: MedicalRepository, url: str) -> str:
    """The same file at the manifest's URL of Zenodo."""
    parts = urlsplit(url)
    return f"{repository.zenodo}{parts.path}?{parts.query}"
