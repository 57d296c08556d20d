"""What a decided release still has to do, and the proof that it was decided here.

A folder may come from anyone, with a plan inside that would move and remove files. So a plan is only carried out if
its hash was noted, before the decision, in the publisher's own work folder. The plan has a random token inside.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from filterzoo.dataset.paths import is_published_path
from filterzoo.durable import make_folder, sync, sync_folder
from filterzoo.errors import StartError

PLAN = "plan.json"
"""The plan's name inside the folder of the release."""
LONGEST_PLAN = 256 << 20
"""Bytes of the longest plan that is read."""
_NOTES = "releases"
"""Folder of the work folder with a note for each release that may have to be finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """files: path -> the sha256 of the bytes, or its beginning. removed: the paths that these replace."""

    token: str
    files: dict[str, str]
    removed: tuple[str, ...]

    @classmethod
    def new(cls, files: Mapping[str, str], removed: tuple[str, ...]) -> Self:
        """A plan nobody else has; StartError where a path is none that a release writes."""
        plan = cls(token=secrets.token_hex(16), files=dict(sorted(files.items())), removed=removed)
        plan.check()
        return plan

    @classmethod
    def read(cls, content: bytes) -> Decided:
        """A plan as `content` wrote it; StartError for anything else."""
        try:
            plan = _PLANS.validate_json(content)
        except ValidationError as error:
            raise StartError(f"{PLAN}: is not as a release wrote it") from error
        plan.check()
        return plan

    def content(self) -> bytes:
        """The plan as JSON."""
        document = {"token": self.token, "files": self.files, "removed": list(self.removed)}
        return json.dumps(document, indent=1).encode()

    def check(self) -> None:
        """StartError for a path that no release writes."""
        for path in (*self.files, *self.removed):
            if not is_published_path(path):
                raise StartError(f"{PLAN}: {ascii(path)[:200]} is not the path of a data set's file")


_PLANS: TypeAdapter[Decided] = TypeAdapter(Decided)


class Notes:
    """The notes of a work folder; without a work folder nothing is noted, and no release can be finished later.

    Neither where a link stands in the place of the folder of notes: whoever sent it would choose where is written.
    """

    def __init__(self, workdir: Path | None) -> None:
        folder = None if workdir is None else workdir / _NOTES
        self._folder = None if folder is not None and folder.is_symlink() else folder

    def add(self, plan: bytes, target: Path) -> None:
        """Note, durably, that this plan is to be carried out. A work folder that takes no files gets no note."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            make_folder(self._folder)
            with (self._folder / f"{_name(plan)}.{_mark(target)}.json").open("w") as note:
                json.dump({"target": str(target)}, note)
                sync(note)
            sync_folder(self._folder)

    def has(self, plan: bytes) -> bool:
        """Whether the plan was noted."""
        return any(note.is_file() for note in self._found(f"{_name(plan)}*.json"))

    def of(self, target: Path) -> list[Path]:
        """The notes of plans for a target. A killed publisher leaves one that it did not write or drop."""
        return self._found(f"*.{_mark(target)}.json")

    def drop(self, plan: bytes) -> None:
        """The plan was carried out. Folders that only the notes needed go too."""
        self._remove(self._found(f"{_name(plan)}*.json"))

    def forget(self, target: Path) -> None:
        """Drop the notes of plans for a target where none is to be carried out any more."""
        self._remove(self.of(target))

    def _found(self, pattern: str) -> list[Path]:
        return [] if self._folder is None else sorted(self._folder.glob(pattern))

    def _remove(self, notes: list[Path]) -> None:
        if self._folder is None:
            return
        with contextlib.suppress(OSError):
            for note in notes:
                note.unlink()
            self._folder.rmdir()
            sync_folder(self._folder.parent)
            self._folder.parent.rmdir()


def _name(plan: bytes) -> str:
    """How the name of a plan's note begins; in former versions it was all of the name."""
    return hashlib.sha256(plan).hexdigest()


def _mark(target: Path) -> str:
    """What names of the notes for a target have in common, also of one that was not written to its end."""
    return hashlib.sha256(os.fsencode(target.resolve())).hexdigest()[:16]
