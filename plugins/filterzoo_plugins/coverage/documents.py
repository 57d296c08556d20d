"""Manual copies of documents from web addresses, each with its revision.

A folder with `index.csv` (columns address, revision, file) and the files. An address with a commit never changes, so
its document comes from the cache once it is fetched; a document of a branch is a copy, and the page names its revision.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filterzoo import StartError
from filterzoo.network.door import MAX_DOCUMENT, Document, Door

INDEX = "index.csv"
COLUMNS = ("address", "revision", "file")


@dataclass(frozen=True, slots=True)
class Copy:
    """A document: its revision is a commit, or a package with its version."""

    revision: str
    path: Path


def read_index(folder: Path) -> dict[str, Copy]:
    """The copies by address; none if the folder has no index. StartError for an index of another form."""
    try:
        with (folder / INDEX).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, csv.Error) as error:
        raise StartError(f"cannot read {folder / INDEX}: {error}") from error
    for row in rows:
        if tuple(row) != COLUMNS or not all(row.values()) or Path(row["file"]).name != row["file"]:
            raise StartError(f"{folder / INDEX}: each row has {', '.join(COLUMNS)}, and a file beside it; not {row!a}")
    return {row["address"]: Copy(row["revision"], folder / row["file"]) for row in rows}


class DoorWithCopies(Door):
    """A door that returns the documents in `copies` itself, and records their addresses in `answered`."""

    def __init__(self, cache: Path, copies: Mapping[str, Copy], **options: Any) -> None:
        super().__init__(cache, **options)
        self.copies = copies
        self.answered: dict[str, Copy] = {}

    def get(self, url: str, *, accept: str = "*/*", limit: int = MAX_DOCUMENT) -> Document:
        """See `Door.get`."""
        copy = self.copies.get(url)
        if copy is None:
            return super().get(url, accept=accept, limit=limit)
        self.answered[url] = copy
        return Document(url, "text/plain", copy.path.read_bytes()[:limit])
