"""A zoo in a CSV file. Each line describes a network: its URL, its pinned revision, and further facts."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import ClassVar

from filterzoo import Artifact, Checkpoint, Source, SourceOptions, StartError, hookimpl

filterzoo_api = 1

NEEDED = {"id", "revision", "url"}
KNOWN = NEEDED | {"licence", "size", "sha256", "architecture", "task", "training_dataset"}


class CsvOptions(SourceOptions):
    """`file`: the CSV file, relative to the manifest."""

    file: str


class ZooFromCsv(Source[CsvOptions]):
    """Each line of the file is a checkpoint. An empty cell means that a fact is unknown."""

    name: ClassVar[str] = "csv"

    def discover(self) -> Iterator[Checkpoint]:
        """See `Source.discover`. StartError if the file cannot be read or has unknown columns."""
        path = self.folder / self.options.file
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = csv.DictReader(file, strict=True)
                columns = set(rows.fieldnames or ())
                if not NEEDED <= columns <= KNOWN:
                    raise StartError(f"{path}: the columns are {', '.join(sorted(NEEDED))}; known: {sorted(KNOWN)}")
                for row in rows:
                    yield _checkpoint(row, f"{path}:{rows.line_num}")
        except (OSError, ValueError, csv.Error) as error:
            raise StartError(f"{path}: cannot read the list: {error}") from error


def _checkpoint(row: dict[str, str | None], place: str) -> Checkpoint:
    facts = {column: text.strip() for column, text in row.items() if isinstance(text, str) and text.strip()}
    if missing := NEEDED - facts.keys():
        raise StartError(f"{place}: {', '.join(sorted(missing))} must be given")
    size = facts.get("size")
    if size is not None and not (size.isascii() and size.isdigit()):
        raise StartError(f"{place}: the size {size!r} is no number of bytes; leave it empty where it is unknown")
    url = facts["url"]
    file = Artifact(url=url, name=url.rpartition("/")[2], size=int(size) if size else None, sha256=facts.get("sha256"))
    return Checkpoint(
        id=facts["id"],
        revision=facts["revision"],
        artifacts=(file,),
        url=url,
        licence=facts.get("licence"),
        architecture=facts.get("architecture"),
        task=facts.get("task"),
        training_dataset=facts.get("training_dataset"),
    )


@hookimpl
def filterzoo_sources() -> list[type[Source]]:
    """See `filterzoo.hooks`."""
    return [ZooFromCsv]
