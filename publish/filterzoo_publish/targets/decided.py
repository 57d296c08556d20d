"""The remaining steps of a decided release, and the proof that it was decided here.

A received folder is untrusted and may contain a plan that would move and remove files. So a plan is only executed if
the publisher's own work folder had its hash before the decision. The plan contains a random token.
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
"""Longest plan that is read, in bytes."""
_ATTEMPTS = 100
_NOTES = "releases"
"""The folder in the work folder with a note for each release that may have to be finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """files: path -> the sha256 of the bytes, or its beginning. removed: the paths that these replace."""

    token: str
    files: dict[str, str]
    removed: tuple[str, ...]

    @classmethod
    def new(cls, files: Mapping[str, str], removed: tuple[str, ...]) -> Self:
        """A plan with a random token; StartError for a path that no release writes."""
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
    """The notes of a work folder. Without a work folder there are no notes, and no release can be finished later.

    Nor if the folder of notes is a link: its target would be chosen by the sender of the folder.
    """

    def __init__(self, workdir: Path | None) -> None:
        folder = None if workdir is None else workdir / _NOTES
        self._folder = None if folder is not None and folder.is_symlink() else folder

    def add(self, plan: bytes, target: Path) -> None:
        """Record durably that this plan will be executed. A read-only work folder gets no note."""
        if self._folder is None:
            return
        for _attempt in range(_ATTEMPTS):
            try:
                self._write(self._folder / f"{_name(plan)}.{_mark(target)}.json", target)
            except (FileNotFoundError, FileExistsError):
                continue  # the publisher to another target has just removed the empty folder, or removes it now
            except OSError:
                pass
            return

    def _write(self, note: Path, target: Path) -> None:
        make_folder(note.parent)
        with note.open("w") as file:
            json.dump({"target": str(target)}, file)
            sync(file)
        sync_folder(note.parent)

    def has(self, plan: bytes) -> bool:
        """Whether the plan was noted."""
        return any(note.is_file() for note in self._found(f"{_name(plan)}*.json"))

    def of(self, target: Path) -> list[Path]:
        """The notes of plans for a target, including incomplete ones of killed publishers."""
        return self._found(f"*.{_mark(target)}.json")

    def drop(self, plan: bytes) -> None:
        """Remove the note of an executed plan, and folders that are then empty."""
        self._remove(self._found(f"{_name(plan)}*.json"))

    def forget(self, target: Path) -> None:
        """Remove the notes of plans for a target without a pending plan."""
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
    """The prefix of a plan's note; in former versions it was the whole name."""
    return hashlib.sha256(plan).hexdigest()


def _mark(target: Path) -> str:
    """The common prefix of all notes for a target, including incomplete ones."""
    return hashlib.sha256(os.fsencode(target.resolve())).hexdigest()[:16]
