"""The plan of a decided release: the steps that remain, and the proof that it was decided here.

A folder from elsewhere is untrusted and may contain a plan that would move and remove files. So a plan is executed only
if its hash is noted in the publisher's own work folder. The note is written before the release is decided. A random
token in the plan makes its hash unpredictable.
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
"""The name of the plan in the folder of the release."""
LONGEST_PLAN = 256 << 20
"""Largest plan that is read, in bytes."""
_ATTEMPTS = 100
_NOTES = "releases"
"""The folder of notes in the work folder: one for each release that may have to be finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The plan. files: path -> sha256 of the bytes, or a prefix of it. removed: the paths that the release removes."""

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
        """Parse what `content` returned; StartError for anything else."""
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
    """The notes of a work folder. Without a work folder, no notes are kept and no release can be finished later.

    The same holds if the folder of notes is a symbolic link: the sender of a folder could have chosen its target.
    """

    def __init__(self, workdir: Path | None) -> None:
        folder = None if workdir is None else workdir / _NOTES
        self._folder = None if folder is not None and folder.is_symlink() else folder

    def add(self, plan: bytes, target: Path) -> None:
        """Record durably that this plan will be executed. If the work folder is read-only, no note is written."""
        if self._folder is None:
            return
        for _attempt in range(_ATTEMPTS):
            try:
                self._write(self._folder / f"{_name(plan)}.{_mark(target)}.json", target)
            except (FileNotFoundError, FileExistsError):
                continue  # a publisher to another target is removing the empty folder
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
        """Whether there is a note of the plan."""
        return any(note.is_file() for note in self._found(f"{_name(plan)}*.json"))

    def of(self, target: Path) -> list[Path]:
        """The notes of plans for a target, including incomplete notes of killed publishers."""
        return self._found(f"*.{_mark(target)}.json")

    def drop(self, plan: bytes) -> None:
        """Remove the note of an executed plan, and folders that are empty then."""
        self._remove(self._found(f"{_name(plan)}*.json"))

    def forget(self, target: Path) -> None:
        """Remove all notes for a target. The target must have no plan to finish."""
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
    """The prefix of the name of a plan's note. Former versions used it as the whole name."""
    return hashlib.sha256(plan).hexdigest()


def _mark(target: Path) -> str:
    """The part that names of notes for the same target share."""
    return hashlib.sha256(os.fsencode(target.resolve())).hexdigest()[:16]
